# sim.mk: the simulator of a CUDA device (tests/sim/sim.h), its tests, and the program linked against it. Needs no nvcc
# and no device; a C++ compiler. Included by the Makefile.
CXX       := $(shell command -v g++ 2>/dev/null)
SIM_MATH  := $(if $(filter x86_64%,$(MACHINE)),-mfma -mf16c)
SIM_FLAGS  = -std=c++17 -O2 -g -Wall -Wextra $(WERROR) -fPIC -ffp-contract=off -fno-exceptions \
              -Itests/sim -Itests -Isrc -MMD -MP
SIM_OBJ   := $(patsubst %,$(BUILD)/sim/%.o,block bulk count fiber mbarrier shadow stream tensor warp wgmma)
SIM_HOST  := $(patsubst src/cuda/%.c,$(BUILD)/sim/host/%.o,$(filter-out src/cuda/stub.c,$(wildcard src/cuda/*.c)))
SIM_CU    := $(filter-out cu,$(notdir $(basename $(wildcard src/cuda/*.cu))))
# checked: loads and stores call the simulator; fast: they do not.
SIM_CHECKED := $(SIM_OBJ) $(SIM_HOST) $(SIM_CU:%=$(BUILD)/sim/checked/%.o)
SIM_FAST    := $(SIM_OBJ) $(SIM_HOST) $(SIM_CU:%=$(BUILD)/sim/fast/%.o)
# Neither under sanitizers nor with gcov's counters: the simulator has hooks of its own and is linked without theirs.
SIM_TESTS   := $(if $(findstring -fsanitize,$(CFLAGS))$(findstring --coverage,$(CFLAGS))$(findstring aarch64,$(CC)),,\
                 $(patsubst %,$(BUILD)/tests/test_%,sim hopper hopper_faults cuda cuda_check cuda_step gpu_products ladder \
                 mutants) $(BUILD)/imago-sim $(if $(CUDA),$(BUILD)/tests/test_hopper_sass))

$(BUILD)/sim/%.o: tests/sim/%.cc | $(BUILD)/needs
	@mkdir -p $(@D)
	$(SAY) "  c++ $<"
	$(Q)$(CXX) $(SIM_FLAGS) -c $< -o $@

$(BUILD)/sim/host/%.o: src/cuda/%.c | $(BUILD)/needs
	@mkdir -p $(@D)
	$(SAY) "  cc $< (simulator)"
	$(Q)$(CC) $(ALL_CFLAGS) -c $< -o $@

$(BUILD)/sim/checked/%.o: src/cuda/%.cu | $(BUILD)/needs
	@mkdir -p $(@D)
	$(SAY) "  c++ $< (simulator, checked)"
	$(Q)$(CXX) $(SIM_FLAGS) $(SIM_MATH) -fsanitize=thread -x c++ -c $< -o $@

$(BUILD)/sim/checked/%.o: tests/sim/%.cu | $(BUILD)/needs
	@mkdir -p $(@D)
	$(SAY) "  c++ $< (simulator, checked)"
	$(Q)$(CXX) $(SIM_FLAGS) $(SIM_MATH) -fsanitize=thread -x c++ -c $< -o $@

# Kernels for sm_90a, which no program of ours has so far. Loops stay stores, so that each of them is seen.
HOPPER := $(patsubst %,$(BUILD)/sim/hopper/%.o,hopper hopper_faults)
$(HOPPER): $(BUILD)/sim/hopper/%.o: tests/sim/hopper/%.cu | $(BUILD)/needs
	@mkdir -p $(@D)
	$(SAY) "  c++ $< (simulator, checked)"
	$(Q)$(CXX) $(SIM_FLAGS) $(SIM_MATH) -fno-tree-loop-distribute-patterns -fsanitize=thread -x c++ -c $< -o $@

$(BUILD)/tests/test_hopper:        $(BUILD)/sim/hopper/test_hopper.o $(BUILD)/sim/hopper/hopper.o
$(BUILD)/tests/test_hopper_faults: $(BUILD)/sim/hopper/test_hopper_faults.o $(BUILD)/sim/hopper/hopper_faults.o
$(BUILD)/tests/test_hopper $(BUILD)/tests/test_hopper_faults: $(SIM_OBJ)
	@mkdir -p $(@D)
	$(SAY) "  link $@"
	$(Q)$(CXX) -o $@ $^ $(TEST_LIBS) -lm

# The same source by nvcc, where there is one.
$(BUILD)/tests/test_hopper_sass: tests/sim/sim.mk
	@mkdir -p $(@D)
	@printf '%s\n' '#!/bin/sh' '# machine code of kernels for sm_90a (tests/sim/sass.sh)' \
	    'exec tests/sim/sass.sh $(CUDA) $(BUILD)' >$@
	@chmod +x $@

$(BUILD)/sim/fast/%.o: src/cuda/%.cu | $(BUILD)/needs
	@mkdir -p $(@D)
	$(SAY) "  c++ $< (simulator)"
	$(Q)$(CXX) $(SIM_FLAGS) $(SIM_MATH) -O3 -x c++ -c $< -o $@

$(BUILD)/tests/test_sim: $(BUILD)/sim/test_sim.o $(BUILD)/sim/checked/faults.o $(BUILD)/sim/checked/fragments.o \
                         $(SIM_OBJ)
	@mkdir -p $(@D)
	$(SAY) "  link $@"
	$(Q)$(CXX) -o $@ $^ $(TEST_LIBS) -lm

TEST_CUDA := $(patsubst %,$(BUILD)/tests/sim/%.o,test_cuda device_case device_steps)
$(BUILD)/tests/test_cuda: $(TEST_CUDA) $(CASES) $(SIM_CHECKED) $(BUILD)/libimago.a
	@mkdir -p $(@D)
	$(SAY) "  link $@"
	$(Q)$(CXX) $(OMP) -o $@ $^ $(TEST_LIBS) $(LIBS)

$(BUILD)/tests/test_cuda_check $(BUILD)/tests/test_cuda_step: $(BUILD)/tests/test_cuda_%: $(BUILD)/tests/sim/test_cuda_%.o \
                          $(SIM_CHECKED) $(BUILD)/libimago.a
	@mkdir -p $(@D)
	$(SAY) "  link $@"
	$(Q)$(CXX) $(OMP) -o $@ $^ $(TEST_LIBS) $(LIBS)

# Ladders from naive kernels to the shipped ones (bench/ladder).
$(BUILD)/sim/checked/%.o: bench/ladder/%.cu | $(BUILD)/needs
	@mkdir -p $(@D)
	$(SAY) "  c++ $< (simulator, checked)"
	$(Q)$(CXX) $(SIM_FLAGS) $(SIM_MATH) -fsanitize=thread -x c++ -c $< -o $@

$(BUILD)/sim/%.o: bench/ladder/%.cc | $(BUILD)/needs
	@mkdir -p $(@D)
	$(SAY) "  c++ $<"
	$(Q)$(CXX) $(SIM_FLAGS) -c $< -o $@

LADDER := $(patsubst %,$(BUILD)/sim/%.o,ladder device plain) \
          $(patsubst bench/ladder/%.cu,$(BUILD)/sim/checked/%.o,$(wildcard bench/ladder/*.cu)) \
          $(patsubst %,$(BUILD)/sim/checked/%.o,attention attention_mma conv loss norm winograd)
$(BUILD)/tests/test_ladder: $(LADDER) $(SIM_OBJ)
	@mkdir -p $(@D)
	$(SAY) "  link $@"
	$(Q)$(CXX) -o $@ $^ -lm

$(BUILD)/imago-sim: $(CLI_OBJ) $(SIM_FAST) $(BUILD)/libimago.a ## the program with the simulator behind --device cuda
	$(SAY) "  link $@"
	$(Q)$(CXX) $(OMP) -o $@ $^ $(CLI_LIBS) $(LIBS) -lpthread

# The same cases on a device that is here: bit by bit beside the cpu, then the whole program.
$(BUILD)/tests/gpu_check: $(TEST_CUDA) $(BUILD)/tests/sim/real.o $(CASES) $(BUILD)/libimago.a
	$(SAY) "  link $@"
	$(Q)$(CC) $(OMP) -o $@ $^ $(TEST_LIBS) $(LIBS)

gpu-check: ## where there is a GPU: every kernel on it, bit by bit beside the cpu, then the whole program
	@$(SUB) $(BUILD)/imago $(BUILD)/tests/gpu_check $(BUILD)/tests/test_learn
	$(BUILD)/imago info --device cuda --check
	timeout 150 $(BUILD)/tests/gpu_check
	timeout 150 env IMAGO_CUDA=plain tests/cli/far.sh $(BUILD)/imago cpu cuda

gpu-bench: $(BUILD)/imago $(BUILD)/gpu-products ## where there is a GPU: speed, beside PyTorch; CUBLASLT=1: and that
	@bench/gpu.sh $(BUILD)

# Products on a device beside a rival's: CUBLASLT=1, NVIDIA's; in the tests, in the simulator, plain loops.
CUBLASLT ?=
RIVAL    := $(if $(CUDA),$(if $(CUBLASLT),cublaslt,none),none)
$(BUILD)/bench/products/cublaslt.o: ALL_CFLAGS += -isystem $(CUDA_HOME)/include
$(BUILD)/bench/products/%.o: bench/products/%.c | $(BUILD)/needs
	@mkdir -p $(@D)
	$(SAY) "  cc $<"
	$(Q)$(CC) $(ALL_CFLAGS) -c $< -o $@

$(BUILD)/gpu-products: $(BUILD)/bench/products/products.o $(BUILD)/bench/products/$(RIVAL).o $(BUILD)/libimago.a
	$(SAY) "  link $@"
	$(Q)$(CC) $(OMP) -o $@ $^ $(if $(filter cublaslt,$(RIVAL)),$(filter -L%,$(CUDA_LIBS)) -lcublasLt) $(LIBS)

$(BUILD)/products-sim: $(BUILD)/bench/products/products.o $(BUILD)/tests/sim/rival_plain.o $(SIM_CHECKED) \
                       $(BUILD)/libimago.a
	$(SAY) "  link $@"
	$(Q)$(CXX) $(OMP) -o $@ $^ $(LIBS) -lpthread

$(BUILD)/tests/test_gpu_products: tests/sim/sim.mk $(BUILD)/products-sim
	@printf '%s\n' '#!/bin/sh' '# bench/products in the simulator: near plain loops, and a wrong number is noticed' \
	    "for t in f16 bf16; do $(BUILD)/products-sim \$$t small || exit 1; done" \
	    "if RIVAL_WRONG=1 $(BUILD)/products-sim f16 small >/dev/null; then echo 'a wrong number: not noticed'; exit 1; fi" >$@
	@chmod +x $@

# One barrier, wait or bound check less at a time (tests/sim/mutants.py): MUTANTS=20 of them, all without it.
mutants: $(SIM_TESTS) ## take barriers and bound checks out of kernels: does the simulator notice? MUTANTS=20 (long)
	@tests/sim/mutants.py $(BUILD) $(MUTANTS)

# Three of them, the same every time, of kernels whose cases take seconds: for make check.
$(BUILD)/tests/test_mutants: tests/sim/sim.mk $(BUILD)/tests/test_cuda
	@printf '%s\n' '#!/bin/sh' '# three mutants (tests/sim/mutants.py)' \
	    "MUTANTS_SEED=3 MUTANTS_ONLY='^(pool|norm|gate|map|gaussian)[.]cu' exec tests/sim/mutants.py $(BUILD) 3" >$@
	@chmod +x $@

mutants-libs:
	@echo $(TEST_LIBS) $(LIBS)

.PHONY: gpu-check gpu-bench mutants mutants-libs
