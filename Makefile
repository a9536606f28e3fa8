# imago: `make help` lists the targets.
CC      ?= gcc
CFLAGS  ?= -O2 -g
BUILD   ?= build
PREFIX  ?= /usr/local
DESTDIR ?=
WARN    := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wvla -Werror
# -ffp-contract=off: every fused multiply-add is written out, so that results repeat on every ISA.
ALL_CFLAGS = -std=gnu11 $(WARN) -fPIC -ffp-contract=off -fno-math-errno -fopenmp -Isrc -MMD -MP \
             -DIM_WEIGHTS='"$(WEIGHTS)"' $(CFLAGS)
# Where an installed imago looks for its embedded model when ./weights is not there.
WEIGHTS  = $(PREFIX)/share/imago/weights
LIBS     = -lpng -ljansson -lpcre2-8 -lutf8proc -lcrypto -lm
CLI_LIBS = -lcairo
TEST_LIBS = -lcheck_pic -lsubunit -lrt -lpthread

MACHINE := $(shell $(CC) -dumpmachine 2>/dev/null)
ifneq (,$(findstring aarch64,$(MACHINE)))
ISAS := portable neon
else
ISAS := portable avx2 avx512 avx512bf16
endif
F_portable   :=
F_neon       :=
F_avx2       := -mavx2 -mfma -mf16c
F_avx512     := $(F_avx2) -mavx512f -mavx512bw -mavx512vl -mavx512dq -mprefer-vector-width=512
F_avx512bf16 := $(F_avx512) -mavx512bf16

# src/tensor/cpu/cpu.c chooses the ISA and is compiled once; every other file there is compiled once per ISA.
KERNELS := $(filter-out src/tensor/cpu/cpu.c,$(wildcard src/tensor/cpu/*.c))
PLAIN   := $(filter-out $(KERNELS),$(wildcard src/tensor/*.c src/tensor/ops/*.c src/tensor/ref/*.c src/tensor/cpu/cpu.c \
             src/cuda/*.c src/data/*.c src/models/*.c))
LIB_OBJ := $(PLAIN:src/%.c=$(BUILD)/%.o) $(foreach i,$(ISAS),$(KERNELS:src/tensor/cpu/%.c=$(BUILD)/tensor/cpu/$(i)/%.o))
CLI_OBJ := $(patsubst src/%.c,$(BUILD)/%.o,$(wildcard src/cli/*.c))
TESTS   := $(patsubst tests/%.c,$(BUILD)/tests/%,$(wildcard tests/test_*.c))
JOBS    := $(shell nproc 2>/dev/null || echo 2)
SUB      = $(MAKE) --no-print-directory -j$(JOBS)

all: $(BUILD)/imago $(BUILD)/imago.1 ## build the program, the library and the man page (default)

$(BUILD)/imago: $(CLI_OBJ) $(BUILD)/libimago.a
	$(CC) $(ALL_CFLAGS) -o $@ $^ $(CLI_LIBS) $(LIBS)

$(BUILD)/libimago.a: $(LIB_OBJ)
	@rm -f $@
	ar rcs $@ $^

# The shared library shows what imago.h declares and nothing else.
$(BUILD)/libimago.so: $(LIB_OBJ) $(BUILD)/libimago.map
	$(CC) $(ALL_CFLAGS) -shared -Wl,-soname,libimago.so.0 -Wl,--version-script=$(BUILD)/libimago.map -o $@ $(LIB_OBJ) $(LIBS)

$(BUILD)/libimago.map: src/imago.h
	@{ echo '{ global:'; grep -o '\<im_[a-z0-9_]*(' $< | sort -u | tr '(' ';'; echo 'local: *; };'; } > $@

$(BUILD)/imago.1: $(BUILD)/imago
	$(BUILD)/imago help --man > $@.new && mv $@.new $@

# Every object waits for this file: without the headers of the libraries, `make` ends with the one line of need.sh.
$(BUILD)/needs: tests/need.sh
	@mkdir -p $(@D)
	@CC="$(CC)" tests/need.sh build && touch $@

# The commit, for `imago --version` and for rows of benchmarks; rewritten only when it changes.
$(BUILD)/commit.h: force
	@mkdir -p $(@D)
	@echo "#define IM_COMMIT \"$$(git describe --always --dirty --abbrev=10 2>/dev/null || echo unknown)\"" > $@.new
	@cmp -s $@.new $@ && rm $@.new || mv $@.new $@

$(BUILD)/cli/version.o: ALL_CFLAGS += -I$(BUILD)
$(BUILD)/cli/version.o: $(BUILD)/commit.h

$(BUILD)/%.o: src/%.c | $(BUILD)/needs
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) -c $< -o $@

define isa_rule
$(BUILD)/tensor/cpu/$(1)/%.o: src/tensor/cpu/%.c | $(BUILD)/needs
	@mkdir -p $$(@D)
	$$(CC) $$(ALL_CFLAGS) -O3 $$(F_$(1)) -DIM_ISA=$(1) -DIM_ISA_$(1) -c $$< -o $$@
endef
$(foreach i,$(ISAS),$(eval $(call isa_rule,$(i))))

$(BUILD)/tests/%: tests/%.c $(BUILD)/libimago.a
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) -Itests -o $@ $< $(TEST_EXTRA) $(BUILD)/libimago.a $(LIBS) $(TEST_LIBS)

tests: $(TESTS) ## build the test programs

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{ printf "  %-14s %s\n", $$1, $$2 }'

-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)
.PHONY: all tests help force
