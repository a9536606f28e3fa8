# cuda.mk: the CUDA backend, built where nvcc is found (NVCC= leaves it out; src/cuda/stub.c stands in). Included by the Makefile.
#
# Machine code for each of CUDA_ARCHS, and PTX for what comes later: not that of sm_75, whose kernels on tensor cores are
# others (cuda/cores.cuh). Two forms of PTX, for sm_75 and for sm_80, are what all of it is assembled from: no kernel knows
# more of where it runs, and making PTX is more than half of the time. No contraction: every fused multiply-add is written.
NVCC       ?= $(shell command -v nvcc 2>/dev/null)
CUDA_ARCHS ?= 75 80 86 89 90 100 120
CUDA_LATER  = $(filter-out 75,$(CUDA_ARCHS))
CUDA_PTX    = $(if $(CUDA_LATER),80,75)
# Not under sanitizers, nor for another machine than this.
CUDA       := $(if $(findstring -fsanitize,$(CFLAGS))$(findstring aarch64-linux-gnu-gcc,$(CC)),,$(strip $(NVCC)))
CUDA_SRC   := $(if $(CUDA),$(filter-out src/cuda/stub.c,$(wildcard src/cuda/*.c)),src/cuda/stub.c)
CUDA_OBJ   := $(if $(CUDA),$(patsubst src/%.cu,$(BUILD)/%.o,$(wildcard src/cuda/*.cu)))
CUDA_HOME  := $(if $(CUDA),$(patsubst %/bin/,%,$(dir $(realpath $(CUDA)))))
CUDA_LIBS  := $(if $(CUDA),$(addprefix -L,$(wildcard $(CUDA_HOME)/lib64 $(CUDA_HOME)/targets/*/lib)) -lcudart_static \
                -ldl -lrt -lpthread)
CCACHE     := $(shell command -v ccache 2>/dev/null)
NVCC_FLAGS  = -std=c++17 -O3 --fmad=false -Isrc -MD -MP -MF $(@:.o=.d) --threads 2 \
              -Xcompiler -fPIC,-Wall,-Wextra,-fno-exceptions,-fno-threadsafe-statics \
              $(foreach a,$(filter 75,$(CUDA_ARCHS)),-gencode=arch=compute_75,code=sm_75) \
              $(foreach a,$(CUDA_LATER),-gencode=arch=compute_80,code=sm_$(a)) \
              -gencode=arch=compute_$(CUDA_PTX),code=compute_$(CUDA_PTX)

$(BUILD)/cuda/cu.o: NVCC_FLAGS += -DIM_CUDA_CODE='"$(CUDA_ARCHS:%=sm_%) and PTX"'
$(BUILD)/cuda/%.o: src/cuda/%.cu | $(BUILD)/needs
	@mkdir -p $(@D)
	$(SAY) "  nvcc $<"
	$(Q)$(CCACHE) $(CUDA) $(NVCC_FLAGS) -c $< -o $@
