# neon.mk: the aarch64 build of library and tests on another machine: cross-compiled, run by qemu, and compared bit by
# bit with this machine's own instruction sets. Included by the Makefile. NEON=no leaves it out.
NEON      ?= $(if $(findstring x86_64,$(MACHINE)),yes,no)
NEON_DIR  := $(BUILD)/neon
NEON_ROOT := $(NEON_DIR)/root
# What runs under qemu, some 30 times slower than the machine itself. linear and conv2d would take a minute in test_ops;
# digest has their bits.
NEON_TESTS := test_tiny test_errors
NEON_OPS   := kernels geglu attention groupnorm layernorm batchnorm batchnorm_res maxpool avgpool activate add scale \
              concat copy embedding timestep
NEON_LIBS  := -static -Wl,--no-warnings -lpng -ljpeg -lz -ljansson -lpcre2-8 -lutf8proc -lcrypto -lm
NEON_MAKE   = $(SUB) BUILD=$(NEON_DIR) LIBS="$(NEON_LIBS)" \
              CC="aarch64-linux-gnu-gcc -isystem $(NEON_ROOT)/usr/include \
              -isystem $(NEON_ROOT)/usr/include/aarch64-linux-gnu -L$(NEON_ROOT)/usr/lib/aarch64-linux-gnu"

ifeq ($(NEON),yes)
neon: $(BUILD)/tests/digest $(BUILD)/tests/digest_picture $(NEON_ROOT) ## test neon under qemu, and its bits beside avx2
	@touch $(NEON_DIR)/needs
	@$(NEON_MAKE) $(addprefix $(NEON_DIR)/tests/,digest digest_picture test_ops $(NEON_TESTS))
	@for t in $(NEON_TESTS); do qemu-aarch64 $(NEON_DIR)/tests/$$t || exit 1; done
	@for op in $(NEON_OPS); do CK_RUN_CASE=$$op qemu-aarch64 $(NEON_DIR)/tests/test_ops || exit 1; done
	@tests/neon_bits.sh $(BUILD)/tests/digest $(NEON_DIR)/tests/digest
	@tests/neon_bits.sh $(BUILD)/tests/digest_picture $(NEON_DIR)/tests/digest_picture
else
neon:
	@echo "neon: left out on $(MACHINE) (NEON=no)"
endif

$(NEON_ROOT): tests/neon_root.sh
	@mkdir -p $(NEON_DIR)
	tests/neon_root.sh $@

.PHONY: neon
