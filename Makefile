# imago: `make help` lists the targets.
CC      ?= gcc
CFLAGS  ?= -O2 -g
BUILD   ?= build
PREFIX  ?= /usr/local
DESTDIR ?=
WERROR  ?= -Werror
OMP     ?= -fopenmp
WARN    := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wvla -Wpointer-arith -Wstrict-aliasing=2
# -ffp-contract=off: every fused multiply-add is written out, so that results repeat on every ISA.
ALL_CFLAGS = -std=gnu11 $(WARN) $(WERROR) -fPIC -ffp-contract=off -fno-math-errno $(OMP) -Isrc -I. -MMD -MP $(CFLAGS)
LIBS     = -lpng -ljpeg -lz -larchive -ljansson -lpcre2-8 -lutf8proc -lcrypto -llapacke -llapack -lblas -llbfgs -lm \
           $(CUDA_LIBS)
CLI_LIBS = -lcairo -lmicrohttpd -lpthread
comma := ,
TEST_LIBS = -lcheck_pic -lsubunit -lrt -lpthread

MACHINE := $(shell $(CC) -dumpmachine 2>/dev/null)
ifneq (,$(findstring aarch64,$(MACHINE)))
ISAS := portable neon
DOTS := neondot
else
ISAS := portable avx2 avx512 avx512bf16
DOTS := avx2vnni avx512vnni
AMX  := amx
endif
F_portable   := -Wno-psabi
F_neon       :=
F_avx2       := -mavx2 -mfma -mf16c
F_avx512     := $(F_avx2) -mavx512f -mavx512bw -mavx512vl -mavx512dq -mprefer-vector-width=512
F_avx512bf16 := $(F_avx512) -mavx512bf16
# Sets of which the products' innermost loops alone are compiled: with an instruction for int8 (src/tensor/cpu/cpu.c).
F_avx2vnni   := $(F_avx2) -mavxvnni
F_avx512vnni := $(F_avx512) -mavx512vnni
F_neondot    := -march=armv8.2-a+dotprod
# Tile registers: amx.c alone.
F_amx        := -mamx-tile -mamx-bf16 -mamx-int8

include src/cuda/cuda.mk

# src/tensor/cpu/cpu.c chooses the ISA and is compiled once, as is amx.c; every other file there is compiled once per ISA.
KERNELS := $(filter-out src/tensor/cpu/cpu.c src/tensor/cpu/amx.c,$(wildcard src/tensor/cpu/*.c))
PLAIN   := $(filter-out $(KERNELS),$(wildcard src/tensor/*.c src/tensor/ops/*.c src/tensor/ref/*.c src/tensor/far/*.c \
             src/tensor/cpu/cpu.c src/data/*/*.c src/models/*/*.c)) $(CUDA_SRC)
# KBUILD: where the kernels' objects are: builds under sanitizers may take those of the plain build, but for the sets OWN.
KBUILD  ?= $(BUILD)
OWN     ?=
kernels_in = $(KERNELS:src/tensor/cpu/%.c=$(if $(filter $(1),$(OWN)),$(BUILD),$(KBUILD))/tensor/cpu/$(1)/%.o)
KER_OBJ := $(foreach i,$(ISAS),$(call kernels_in,$(i))) $(DOTS:%=$(KBUILD)/tensor/cpu/%/micro.o) \
           $(AMX:%=$(KBUILD)/tensor/cpu/%/amx.o)
LIB_OBJ := $(patsubst src/%.c,$(BUILD)/%.o,$(PLAIN)) $(KER_OBJ) $(CUDA_OBJ)
# The program: the command line, and bench/, which measures the inside of the engine.
CLI_OBJ := $(patsubst src/%.c,$(BUILD)/%.o,$(wildcard src/cli/*.c src/cli/*/*.c)) \
           $(patsubst %.c,$(BUILD)/%.o,$(wildcard bench/*.c))
TESTS   := $(patsubst tests/%.c,$(BUILD)/tests/%,$(wildcard tests/test_*.c))
# A line a file; V=1 shows the commands.
Q       := $(if $(V),,@)
SAY     := $(if $(V),@:,@echo)
JOBS    := $(shell nproc 2>/dev/null || echo 2)
SUB      = $(MAKE) --no-print-directory -j$(JOBS)

# What the shells complete, as the program prints it: the names are those that bash, zsh and fish look for.
COMPLETIONS := $(addprefix $(BUILD)/completions/,imago _imago imago.fish)

all: $(BUILD)/imago $(BUILD)/imago.1 $(COMPLETIONS) ## build the program, the library and the man page (default)

$(BUILD)/imago: $(CLI_OBJ) $(BUILD)/libimago.a
	$(SAY) "  link $@"
	$(Q)$(CC) $(ALL_CFLAGS) -o $@ $(CLI_OBJ) $(BUILD)/libimago.a $(CLI_LIBS) $(LIBS)

$(BUILD)/libimago.a: $(LIB_OBJ)
	@rm -f $@
	$(SAY) "  ar $@"
	$(Q)ar rcs $@ $^

# The interface: imago.h, and the parts of it that imago.h includes. The shared library shows what it declares.
PUBLIC := $(wildcard src/*.h)
$(BUILD)/libimago.so: $(LIB_OBJ) $(BUILD)/libimago.map
	$(SAY) "  link $@"
	$(Q)$(CC) $(ALL_CFLAGS) -shared -Wl,-soname,libimago.so.0 -Wl,--version-script=$(BUILD)/libimago.map -o $@ \
	          $(LIB_OBJ) $(LIBS)

$(BUILD)/libimago.map: $(PUBLIC)
	@{ echo '{ global:'; grep -oh '\<im_[a-z0-9_]*(' $^ | sort -u | tr '(' ';'; echo 'local: *; };'; } > $@

$(BUILD)/imago.1: $(BUILD)/imago
	@$(BUILD)/imago help --man > $@.new && mv $@.new $@

shell_of = $(if $(filter %.fish,$(1)),fish,$(if $(filter _%,$(notdir $(1))),zsh,bash))
$(COMPLETIONS): $(BUILD)/imago
	@mkdir -p $(@D) && $(BUILD)/imago help --completion $(call shell_of,$@) > $@.new && mv $@.new $@

# Every object waits for this file: without the headers of the libraries, `make` ends with the one line of need.sh.
$(BUILD)/needs: tests/need.sh
	@mkdir -p $(@D)
	@CC="$(CC)" tests/need.sh build && touch $@

# The commit, for `imago --version` and for rows of benchmarks; rewritten only when it changes, by two makes at once, too.
$(BUILD)/commit.h: force
	@mkdir -p $(@D)
	@new=$@.$$$$; echo "#define IM_COMMIT \"$$(git describe --always --dirty --abbrev=10 2>/dev/null || echo unknown)\"" \
	    > $$new; cmp -s $$new $@ && rm $$new || mv $$new $@

# Vectors of loops in kernels; under the sanitizers, whose checks stand in such loops, that costs the compiler up to six
# times as long for nothing.
KOPT := $(if $(findstring -fsanitize,$(CFLAGS)),-O1,-O3)
# Portable code, whose vectors are four registers each, and what only tests run: sets without tile registers have the
# attention of tiles to be compared with.
ifeq ($(KOPT),-O3)
$(BUILD)/tensor/cpu/portable/%.o: KOPT := -O2
$(patsubst %,$(BUILD)/tensor/cpu/%/attention_tiles.o,portable avx2 neon): KOPT := -O1
endif
# A quarter of a kernel's time went into where debuggers find variables, of which such code has few left.
KDEBUG := $(if $(findstring clang,$(CC)),,-fno-var-tracking)

# The last place where the embedded model is looked for; an installed program finds it beside itself first.
$(BUILD)/models/pipelines/sd.o: ALL_CFLAGS += -DIM_WEIGHTS='"$(PREFIX)/share/imago/weights"'
$(BUILD)/cli/version.o: ALL_CFLAGS += -I$(BUILD)
$(BUILD)/cli/version.o: $(BUILD)/commit.h

# Put into the program byte for byte.
$(BUILD)/clip_merges.txt: src/data/text/clip_merges.txt.gz
	@mkdir -p $(@D)
	@gzip -dc $< >$@.new && mv $@.new $@
$(BUILD)/data/text/clip_merges.o: ALL_CFLAGS += -DIM_CLIP_MERGES='"$(BUILD)/clip_merges.txt"'
$(BUILD)/data/text/clip_merges.o: $(BUILD)/clip_merges.txt
$(BUILD)/cli/serve/embedded.o: src/cli/serve/page.html src/cli/serve/openapi.json
# S(name) for every struct of the interface, and its enums, for im_struct_size.
$(BUILD)/structs.h: $(PUBLIC)
	@mkdir -p $(@D)
	@grep -oh '} im_[a-z0-9_]*;' $^ | sed 's/} \(.*\);/S(\1)/' > $@.new && mv $@.new $@
$(BUILD)/data/files/interface.o: ALL_CFLAGS += -I$(BUILD)
$(BUILD)/data/files/interface.o: $(BUILD)/structs.h
# The page of `imago explain` shows the source of operations, and has a style and a script.
EXPLAINED := $(wildcard src/cli/explain.css src/cli/explain.js src/tensor/ops/*.c src/tensor/ref/*.c src/tensor/cpu/*.c)
$(BUILD)/cli/explain_code.o: $(EXPLAINED)

# Packing is loops over all weights; at -O3 they become vectors.
$(BUILD)/tensor/pack.o: ALL_CFLAGS += -O3

# Pictures in training: plain C loops that become vectors, compiled for three instruction sets each and chosen when the
# program starts; the values are the same. One set under the sanitizers, which cannot run before that choice, and with
# clang, whose version 14 gives such functions names that other files do not find.
# -fno-trapping-math: a division may be done where its result is not used.
IM_CLONES := $(if $(filter x86_64%,$(MACHINE)),\
               __attribute__((target_clones("arch=x86-64-v4"$(comma)"arch=x86-64-v3"$(comma)"default"))))
# Numbers in a vector that is written out: what AVX2 holds, or NEON.
IM_LANES  := $(if $(filter x86_64%,$(MACHINE)),8,4)
PICTURES  := $(patsubst %,$(BUILD)/data/images/%.o,resize_rgb colour blur normalise)
$(PICTURES): ALL_CFLAGS += -O3 -fno-trapping-math -DIM_LANES=$(IM_LANES) \
             -DIM_CLONES='$(if $(findstring -fsanitize,$(CFLAGS))$(findstring clang,$(CC)),,$(IM_CLONES))'

$(BUILD)/bench/%.o: bench/%.c | $(BUILD)/needs
	@mkdir -p $(@D)
	$(SAY) "  cc $<"
	$(Q)$(CC) $(ALL_CFLAGS) -c $< -o $@

$(BUILD)/%.o: src/%.c | $(BUILD)/needs
	@mkdir -p $(@D)
	$(SAY) "  cc $<"
	$(Q)$(CC) $(ALL_CFLAGS) -c $< -o $@

define isa_rule
$(BUILD)/tensor/cpu/$(1)/%.o: src/tensor/cpu/%.c | $(BUILD)/needs
	@mkdir -p $$(@D)
	$(SAY) "  cc $$< ($(1))"
	$(Q)$$(CC) $$(ALL_CFLAGS) $$(KOPT) $$(KDEBUG) $$(F_$(1)) -DIM_ISA=$(1) -DIM_ISA_$(1) -c $$< -o $$@
endef
$(foreach i,$(ISAS) $(DOTS) $(AMX),$(eval $(call isa_rule,$(i))))

$(BUILD)/tests/%: tests/%.c $(BUILD)/libimago.a
	@mkdir -p $(@D)
	$(SAY) "  cc $<"
	$(Q)$(CC) $(ALL_CFLAGS) -Itests -o $@ $< $(TEST_EXTRA) $(BUILD)/libimago.a $(TEST_LIBS) $(LIBS)

# What some tests link beside their own file: the cases of ops; wrappers around allocators.
CASES := $(patsubst tests/%.c,$(BUILD)/tests/%.o,$(wildcard tests/cases*.c))
$(BUILD)/tests/%.o: tests/%.c | $(BUILD)/needs
	@mkdir -p $(@D)
	$(SAY) "  cc $<"
	$(Q)$(CC) $(ALL_CFLAGS) -Itests -c $< -o $@
$(BUILD)/tests/test_ops $(BUILD)/tests/test_grad $(BUILD)/tests/test_halves $(BUILD)/tests/digest: $(CASES)
$(BUILD)/tests/test_ops $(BUILD)/tests/test_grad $(BUILD)/tests/test_halves: TEST_EXTRA := $(CASES) \
                              -Wl,--wrap=im_pages_new -Wl,--wrap=im_pages_free
$(BUILD)/tests/digest: TEST_EXTRA := $(CASES)
CLI_TESTED := $(filter-out $(BUILD)/cli/main.o,$(CLI_OBJ))
$(BUILD)/tests/test_options: $(CLI_TESTED)
$(BUILD)/tests/test_options: TEST_EXTRA := $(CLI_TESTED) $(CLI_LIBS)
PROGRAMS := $(patsubst tests/%.c,$(BUILD)/tests/%.o,$(wildcard tests/program*.c))
$(BUILD)/tests/test_programs: $(PROGRAMS)
$(BUILD)/tests/test_programs: TEST_EXTRA := $(PROGRAMS)
# The innermost loops of int8 for sets that this machine may lack, their instructions in C (tests/emulate_*.h).
EMULATED := $(patsubst %,$(BUILD)/tests/emulated/%.o,512 512vnni 2vnni)
$(BUILD)/tests/emulated/512.o:     EMULATES := -include tests/emulate_avx512.h -DIM_ISA=emulated512 -DIM_ISA_avx512
$(BUILD)/tests/emulated/512vnni.o: EMULATES := -include tests/emulate_avx512.h -DIM_ISA=emulated512vnni -DIM_ISA_avx512vnni
$(BUILD)/tests/emulated/2vnni.o:   EMULATES := $(F_avx2) -include tests/emulate_avxvnni.h -DIM_ISA=emulated2vnni \
                                               -DIM_ISA_avx2vnni
$(EMULATED): src/tensor/cpu/micro.c | $(BUILD)/needs
	@mkdir -p $(@D)
	$(SAY) "  cc $< (emulated $(*F))"
	$(Q)$(CC) $(ALL_CFLAGS) -O1 $(KDEBUG) -Wno-psabi -Wno-unused-parameter -Wno-unused-variable \
	      -Wno-unused-but-set-variable $(EMULATES) -c $< -o $@
# The tile registers of amx.c, on every machine.
$(BUILD)/tests/emulated/amx.o: src/tensor/cpu/amx.c tests/emulate_amx.h | $(BUILD)/needs
	@mkdir -p $(@D)
	$(SAY) "  cc $< (emulated amx)"
	$(Q)$(CC) $(ALL_CFLAGS) -include tests/emulate_amx.h -DIM_AMX_NAME=im_tiles_emulated -c $< -o $@
$(BUILD)/tests/test_amx: $(BUILD)/tests/emulated/amx.o
$(BUILD)/tests/test_amx: TEST_EXTRA := $(BUILD)/tests/emulated/amx.o
ifneq (,$(findstring avx2,$(ISAS)))
$(BUILD)/tests/test_int8_dots: $(EMULATED)
$(BUILD)/tests/test_int8_dots: TEST_EXTRA := $(EMULATED)
else
TESTS := $(filter-out %/test_int8_dots,$(TESTS))
endif
ART_TESTED := $(patsubst %,$(BUILD)/weights/art/art_%.o,fit family)
$(BUILD)/tests/test_art: $(ART_TESTED)
$(BUILD)/tests/test_art: TEST_EXTRA := $(ART_TESTED)
$(BUILD)/tests/test_errors: TEST_EXTRA := $(patsubst %,-Wl$(comma)--wrap=%,malloc calloc realloc aligned_alloc strdup free \
                              mmap munmap)

include tests/sim/sim.mk
tests: $(TESTS) $(SIM_TESTS) ## build the test programs

include tests/neon.mk

# The classifier that comes with the embedded model names the pictures, where there is one.
SMALL      := weights/imago-small
DEMO_NAMES := $(if $(wildcard $(SMALL)/classifier/model.safetensors),--classify $(SMALL)/classifier)
demo: ## draw a sheet of 24 pictures with the embedded model (installs what is missing)
	@CC="$(CC)" tests/need.sh --install build
	@$(SUB) all
	@rm -rf $(BUILD)/demo && mkdir -p $(BUILD)/demo
	$(BUILD)/imago generate --prompts docs/demo-prompts.txt -s 1 --steps 50 --guidance 5 --batch 6 -o $(BUILD)/demo \
	    --sheet $(BUILD)/demo/sheet.png $(DEMO_NAMES)
	@echo 'the sheet: $(BUILD)/demo/sheet.png, the pictures beside it. To draw what you like:'
	@echo '    $(BUILD)/imago generate -p strawberry --guidance 5 -o picture.png --force'

# Under the sanitizers: loaders, tokenizer and JSON; random programs, ops and gradients on small cases, tapes and wrong
# arguments with the kernels of one instruction set, which take most of the compiler's time. All of it: `make asan`.
SAN_ISA   := $(if $(filter neon,$(ISAS)),neon,avx2)
SAN_TESTS := $(filter $(addprefix test_,json side_json safetensors tokenizer png picture picture_write augment image \
               config checkpoint text utf8 prompts file names dataset mix shards loader cache order run_config programs \
               tape arguments ops grad halves mix),\
               $(notdir $(TESTS)))
SAN_FLAGS := -O1 -g -fno-omit-frame-pointer
ASAN      := $(SAN_FLAGS) -fsanitize=address,undefined -fno-sanitize-recover=undefined
FUZZERS   := $(patsubst tests/fuzz/fuzz_%.c,fuzz_%,$(wildcard tests/fuzz/fuzz_*.c))
FUZZ_SECONDS ?= 60

# make check-all has the parts that take minutes for one sure thing each, too.
check-all: HOW := whole
check-all: check ## make check, the neon kernels under an emulator, a picture at the real size
check: ## run every test that ends within minutes (installs what is missing)
	@CC="$(CC)" tests/need.sh --install check
	@$(SUB) all tests $(BUILD)/libimago.so
	@$(SUB) san-build
	@$(SUB) fuzz-build
	@BUILD="$(BUILD)" ISAS="$(ISAS)" SAN_ISA="$(SAN_ISA)" SAN_TESTS="$(SAN_TESTS)" FUZZERS="$(FUZZERS)" \
	    MAKE="$(MAKE)" tests/check.sh $(or $(HOW),all)

san-build:
	@$(SUB) BUILD=$(BUILD)/san KBUILD=$(KBUILD) OWN=$(SAN_ISA) WERROR= CFLAGS="$(ASAN)" \
	        $(SAN_TESTS:%=$(BUILD)/san/tests/%)

# A test may take ten times as long as it may without sanitizers (Check's variable).
SLOWLY := CK_TIMEOUT_MULTIPLIER=10
asan: ## every test program under AddressSanitizer and UndefinedBehaviorSanitizer
	@$(SUB) BUILD=$(BUILD)/asan WERROR= CFLAGS="$(ASAN)" all tests
	@BUILD=$(BUILD)/asan $(SLOWLY) tests/check.sh programs

# Small cases on one instruction set: threads meet in the same loops on all of them.
tsan: ## every test program under ThreadSanitizer
	@$(SUB) BUILD=$(BUILD)/tsan WERROR= CFLAGS="$(SAN_FLAGS) -fsanitize=thread" tests
	@BUILD=$(BUILD)/tsan TEST_SMALL=1 TEST_ISA=$(SAN_ISA) $(SLOWLY) tests/check.sh programs

coverage: ## line coverage a folder, by the test programs and the quick tests of the command line
	@$(SUB) all
	@$(SUB) BUILD=$(BUILD)/coverage KBUILD=$(BUILD) OWN=$(SAN_ISA) WERROR= CFLAGS="-O1 --coverage" \
	        $(BUILD)/coverage/imago tests
	@BUILD=$(BUILD)/coverage tests/coverage.sh

fuzz-build:
	@$(SUB) $(KER_OBJ)
	@$(SUB) BUILD=$(BUILD)/fuzz KBUILD=$(BUILD) CC=clang OMP= WERROR= \
	        CFLAGS="$(ASAN) -fsanitize=fuzzer-no-link" $(FUZZERS:%=$(BUILD)/fuzz/%)

$(BUILD)/fuzz_%: tests/fuzz/fuzz_%.c $(BUILD)/libimago.a
	$(SAY) "  cc $<"
	$(Q)$(CC) $(ALL_CFLAGS) -fsanitize=fuzzer -o $@ $< $(BUILD)/libimago.a $(LIBS) -lpthread

fuzz: fuzz-build ## fuzz the engine and the loaders, FUZZ_SECONDS=60 each
	@$(SUB) all
	@$(SUB) san-build SAN_TESTS=test_programs
	@BUILD=$(BUILD) FUZZERS="$(FUZZERS)" FUZZ_SECONDS=$(FUZZ_SECONDS) tests/check.sh fuzz

# A folder of v1.4's shape for measurements; 4.3 GB.
$(BUILD)/sd-v1-4: | $(BUILD)/imago
	$(BUILD)/imago init-weights --like sd-v1-4 -s 1 -o $@

ROWS ?= bench/results/imago.csv
bench: all | $(BUILD)/sd-v1-4 ## measure this machine, the ops and the full-size networks; rows go to bench/results
	$(BUILD)/imago bench peak --csv $(ROWS)
	$(BUILD)/imago bench ops --csv $(ROWS)
	for n in clip unet vae; do $(BUILD)/imago bench $$n -m $(BUILD)/sd-v1-4 --rounds 3 --csv $(ROWS) || exit 1; done

bench-rivals: ## beside PyTorch, OpenVINO and others in a venv of build/; QUICK=1: in 10 minutes
	@CC="$(CC)" tests/need.sh --install rivals
	@$(SUB) all
	@$(SUB) $(BUILD)/sd-v1-4
	bench/rivals/setup.sh $(BUILD)/venv-rivals $(if $(QUICK),quick)
	$(BUILD)/venv-rivals/bin/python bench/rivals/table.py --imago $(BUILD)/imago --model $(BUILD)/sd-v1-4 \
	    --cache $(BUILD)/rivals --csv $(BUILD)/rivals.csv $(if $(QUICK),--quick)
	$(if $(QUICK),,$(BUILD)/venv-rivals/bin/python bench/rivals/torch_train.py --imago $(BUILD)/imago)

# The public art that the embedded model learns from: Debian packages to a folder of pictures (weights/README.md).
MODEL_DATA ?= $(BUILD)/model-data
ART_OBJ := $(patsubst weights/%.c,$(BUILD)/weights/%.o,$(wildcard weights/art/*.c))
$(ART_OBJ): ALL_CFLAGS += $(shell pkg-config --cflags freetype2 2>/dev/null)
$(BUILD)/weights/%.o: weights/%.c | $(BUILD)/needs
	@mkdir -p $(@D)
	$(SAY) "  cc $<"
	$(Q)$(CC) $(ALL_CFLAGS) -I$(<D) -c $< -o $@

$(BUILD)/model_data: $(ART_OBJ) $(BUILD)/libimago.a
	$(SAY) "  link $@"
	$(Q)$(CC) $(ALL_CFLAGS) -o $@ $(ART_OBJ) $(BUILD)/libimago.a -lfreetype $(LIBS)

model-data: ## rebuild the pictures of the embedded model in build/model-data (installs what is missing)
	@CC="$(CC)" tests/need.sh --install art
	@$(SUB) $(BUILD)/model_data
	@rm -rf $(MODEL_DATA)
	$(BUILD)/model_data $(MODEL_DATA)

# What a model can do, in figures (weights/report/report.h): one form of prompt and one guidance for all categories.
MODEL      ?= weights/imago-small
CLASSIFIER ?= weights/imago-small/classifier/model.safetensors
COUNT      ?= 32
FORM       ?= %s, clip art
GUIDANCE   ?= 5
STEPS      ?= 20
LEAST      ?= 24
NAMES      ?= weights/art/names.tsv
REPORT     ?= $(BUILD)/model-report
THREADS    ?= 0
REPORT_OBJ := $(patsubst weights/%.c,$(BUILD)/weights/%.o,$(wildcard weights/report/*.c))
# Distances and products of rows are plain loops; at -O3 they become vectors.
$(patsubst %,$(BUILD)/models/eval/%.o,measures frechet linear_fit neighbours spectrum): ALL_CFLAGS += -O3

$(BUILD)/model_report: $(REPORT_OBJ) $(BUILD)/libimago.a
	$(SAY) "  link $@"
	$(Q)$(CC) $(ALL_CFLAGS) -o $@ $(REPORT_OBJ) $(BUILD)/libimago.a $(LIBS)

REPORTED = --data $(MODEL_DATA) -o $(REPORT) --form "$(FORM)" --names $(NAMES) --count $(COUNT) \
           --least $(LEAST) -t $(THREADS)
model-report: ## figures of a model: MODEL=weights/imago-small COUNT=32 GUIDANCE=5 STEPS=20 (minutes)
	@CC="$(CC)" tests/need.sh --install build
	@[ -d $(MODEL_DATA)/train ] || $(MAKE) --no-print-directory model-data
	@$(SUB) all $(BUILD)/model_report
	@rm -rf $(REPORT)/pictures
	$(BUILD)/model_report prompts $(REPORTED)
	$(BUILD)/imago generate -m $(MODEL) --prompts $(REPORT)/prompts.txt --count $(COUNT) -s 1 --steps $(STEPS) \
	    --guidance $(GUIDANCE) --batch 16 -t $(THREADS) -o $(REPORT)/pictures
	@$(BUILD)/model_report judge $(REPORTED) --model $(MODEL) --classifier $(CLASSIFIER) --guidance $(GUIDANCE) \
	    --steps $(STEPS) > $(REPORT)/report.txt && cat $(REPORT)/report.txt

# The recipe stands in weights/train.sh. STEPS only where it was typed: it has other meanings beside this.
RUNS ?= $(BUILD)/model-train
model-train: ## train the embedded model into build/model-train; STEPS=200: the whole path, short
	@[ -d $(MODEL_DATA)/train ] || $(MAKE) --no-print-directory model-data
	@$(SUB) all
	@STEPS="$(if $(findstring file,$(origin STEPS)),,$(STEPS))" RUNS="$(RUNS)" MODEL_DATA="$(MODEL_DATA)" \
	    IMAGO="$(BUILD)/imago" weights/train.sh

# The stages and what is varied stand in the script.
experiment: ## clones against real drawings, whole: hours; QUICK=1: minutes (scripts/experiment.sh)
	@[ -d $(MODEL_DATA)/heldout ] || $(MAKE) --no-print-directory model-data
	@CC="$(CC)" tests/need.sh --install experiment
	@$(SUB) all
	@QUICK="$(QUICK)" MODEL_DATA="$(MODEL_DATA)" IMAGO="$(BUILD)/imago" THREADS="$(THREADS)" scripts/experiment.sh

# What is installed: FILE:PLACE below PREFIX. `uninstall` removes the places, and folders of ours that are empty then.
INSTALLED = $(BUILD)/imago:bin/imago $(BUILD)/libimago.a:lib/libimago.a $(BUILD)/libimago.so:lib/libimago.so.0 \
            $(foreach h,$(notdir $(PUBLIC)),src/$(h):include/$(h)) \
            $(BUILD)/imago.1:share/man/man1/imago.1 \
            $(BUILD)/completions/imago:share/bash-completion/completions/imago \
            $(BUILD)/completions/_imago:share/zsh/site-functions/_imago \
            $(BUILD)/completions/imago.fish:share/fish/vendor_completions.d/imago.fish \
            $(foreach f,$(SMALL_FILES),$(SMALL)/$(f):share/imago/weights/imago-small/$(f))
# Of the embedded model what the program reads, and no other file that may lie there.
SMALL_KINDS = model_index.json scheduler/scheduler_config.json $(addprefix tokenizer/,vocab.json merges.txt tokenizer.json \
              tokenizer_config.json special_tokens_map.json added_tokens.json) $(foreach f,text_encoder unet vae tiny \
              classifier,$(addprefix $(f)/,config.json *.safetensors *.safetensors.index.json)) vae/preview.json
SMALL_FILES = $(patsubst $(SMALL)/%,%,$(wildcard $(addprefix $(SMALL)/,$(SMALL_KINDS))))
HERE = $(DESTDIR)$(PREFIX)
install: all $(BUILD)/libimago.so ## install program, library, header, man page, embedded model: PREFIX= DESTDIR=
	@cd $(HERE)/share/imago/weights/imago-small 2>/dev/null && rm -f $(SMALL_KINDS) || true
	@for f in $(INSTALLED); do \
	    place=$(HERE)/$${f#*:}; echo "  install $$place"; \
	    case $$place in */bin/* | *.so.*) mode=755 ;; *) mode=644 ;; esac; \
	    install -D -m $$mode "$${f%%:*}" "$$place" || exit 1; \
	done
	@ln -sf libimago.so.0 $(HERE)/lib/libimago.so
	@mkdir -p $(HERE)/lib/pkgconfig
	@{ echo 'prefix=$(PREFIX)'; echo 'libdir=$${prefix}/lib'; echo 'Name: imago'; \
	   echo 'Description: Stable Diffusion v1.x, written from scratch in C'; \
	   sed -n 's/^#define IM_VERSION "\(.*\)"/Version: \1/p' src/imago.h; echo 'Cflags: -I$${prefix}/include'; \
	   echo 'Libs: -L$${libdir} -limago'; echo 'Libs.private: $(LIBS) $(OMP)'; } > $(HERE)/lib/pkgconfig/imago.pc
	@# the loader finds a library outside /usr/lib through a cache only; without rights to it, LD_LIBRARY_PATH has to do
	@[ -n "$(DESTDIR)" ] || ldconfig 2>/dev/null || true

libs: # what a program needs beside libimago.a
	@echo $(LIBS) $(OMP)

uninstall: ## remove what install wrote
	@for f in $(INSTALLED) :lib/libimago.so :lib/pkgconfig/imago.pc; do rm -f "$(HERE)/$${f#*:}"; done
	@cd $(HERE)/share/imago/weights/imago-small 2>/dev/null && rm -f $(SMALL_KINDS) && \
	    rmdir scheduler tokenizer text_encoder unet vae tiny classifier 2>/dev/null; \
	    cd $(HERE)/share && rmdir -p imago/weights/imago-small 2>/dev/null || true

LINTED := $(PLAIN) $(filter-out $(PLAIN),$(wildcard src/cuda/*.c)) $(wildcard src/cli/*.c src/cli/*/*.c bench/*.c)
# A quiet set: what finds mistakes and not tastes. Switched off beside the tastes: integer-division and widening casts (ours
# are written on purpose), not-null-terminated-result (paths are joined by memcpy), UnixAPI (malloc of 0 where n > 0 is
# known), and the checks for values never written, which take every loop that fills an array for one that may not run.
TIDY := -*,bugprone-*,clang-analyzer-*,-bugprone-easily-swappable-parameters,-bugprone-narrowing-conversions,$\
        -bugprone-reserved-identifier,-bugprone-branch-clone,-bugprone-implicit-widening-of-multiplication-result,$\
        -bugprone-assignment-in-if-condition,-bugprone-macro-parentheses,-bugprone-suspicious-include,$\
        -bugprone-suspicious-string-compare,-bugprone-sizeof-expression,-bugprone-integer-division,$\
        -bugprone-misplaced-widening-cast,-bugprone-not-null-terminated-result,-clang-analyzer-valist.Uninitialized,$\
        -clang-analyzer-security.insecureAPI.*,-clang-analyzer-optin.performance.Padding,$\
        -clang-analyzer-optin.portability.UnixAPI,-clang-analyzer-core.uninitialized.*,$\
        -clang-analyzer-core.CallAndMessage,-clang-analyzer-core.UndefinedBinaryOperatorResult
TIDIED := -std=gnu11 -D_GNU_SOURCE= -Isrc -I. -I$(BUILD) -DIM_WEIGHTS=\"\" -DIM_CLIP_MERGES=\"\" -DIM_CLONES= -DIM_LANES=8
# cppcheck takes what goes into a compound literal for lost, two symbols of one section for two objects, an output argument
# for unset; leaks and reads of unset memory are found by `make asan`.
CPPCHECK := --std=c11 -DIM_CLONES= -DIM_LANES=8 --enable=warning,portability --suppress=memleak $\
            --suppress=comparePointers --suppress=uninitvar --suppress=invalidPointerCast
lint: | $(BUILD)/commit.h $(BUILD)/structs.h ## clang-tidy, cppcheck and shellcheck with a quiet set of checks
	printf '%s\n' $(filter-out src/tensor/error.c,$(LINTED)) | xargs -P $(JOBS) -n 8 sh -c \
	    'exec clang-tidy --quiet --warnings-as-errors="*" --checks="$(TIDY)" "$$@" -- $(TIDIED) -include tests/lint.h' tidy
	clang-tidy --quiet --warnings-as-errors='*' --checks='$(TIDY)' src/tensor/error.c -- $(TIDIED)
	cppcheck --quiet --error-exitcode=1 $(CPPCHECK) -Isrc -I. $(LINTED)
	shellcheck -x tests/*.sh $(wildcard tests/cli/*.sh) weights/*.sh scripts/*.sh .ci/run

format: ## clang-format what is changed in the working tree
	git diff --name-only --diff-filter=AM HEAD -- '*.c' '*.h' | xargs -r clang-format -i

clean: ## remove build/
	rm -rf $(BUILD)

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{ printf "  %-14s %s\n", $$1, $$2 }'

-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)
.PHONY: all tests libs san-build model-data model-report model-train experiment demo check check-all asan tsan fuzz \
        coverage fuzz-build bench bench-rivals install uninstall lint format clean help force
