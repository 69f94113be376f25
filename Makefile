# Glia. `make help` lists what this file does.
#
# The suffix of a kernel's file name chooses its instruction-set flags. No other
# file is compiled with instructions that a machine may lack. CFLAGS belong to the
# user, HOUSE to this file. Each configuration has a build directory:
# `make B=build/clang CC=clang`.
VERSION := 0.1.0
B       ?= build
CC      ?= cc
CFLAGS  ?= -O2 -g
PREFIX  ?= /usr/local
DESTDIR ?=
HOUSE   := -std=c11 -Wall -Wextra -Wshadow -Wconversion -Wstrict-prototypes -Wmissing-prototypes \
           -Werror -ffp-contract=off -fno-math-errno -fPIC -fvisibility=hidden -pthread \
           -Iinclude -Isrc -DGLIA_VERSION='"$(VERSION)"'
# The target of CC, such as x86_64-linux-gnu, and its processor.
TARGET  := $(shell $(CC) -dumpmachine)
ARCH    := $(firstword $(subst -, ,$(TARGET)))
# For another processor, pkg-config must not find the libraries of this machine.
PKG_CONFIG ?= $(if $(filter $(ARCH),$(shell uname -m)),,PKG_CONFIG_LIBDIR=/usr/lib/$(TARGET)/pkgconfig )pkg-config
# Ranks on several machines need MPI, any MPI-3. `make MPI=` builds without MPI.
MPI     ?= $(shell for p in ompi-c mpich mpi-c; do $(PKG_CONFIG) --exists $$p 2>/dev/null && echo $$p && break; done)
ifneq ($(MPI),)
MPI_FLAGS := -DGLIA_HAVE_MPI $(patsubst -I%,-isystem %,$(shell $(PKG_CONFIG) --cflags $(MPI)))
MPI_LIBS  := $(strip $(shell $(PKG_CONFIG) --libs $(MPI)))
endif
# The server's HTTP is libevent. The library has no server. For another processor there are only the libraries
# themselves, without the links that -l looks for (tools/setup).
NATIVE    := $(filter $(ARCH),$(shell uname -m))
# TLS needs OpenSSL. `make TLS=` builds without it.
TLS       ?= $(if $(NATIVE),$(shell $(PKG_CONFIG) --exists libevent_openssl openssl 2>/dev/null && echo openssl))
TLS_LIBS  := $(if $(TLS),-levent_openssl -lssl -lcrypto)
HTTP_LIBS := $(TLS_LIBS) $(if $(NATIVE),-levent_core -levent_extra,-l:libevent_core-2.1.so.7 -l:libevent_extra-2.1.so.7)
LIBS    := -ljansson -lpcre2-8 -lutf8proc -lhwloc $(MPI_LIBS) -lm -pthread
SETUP   ?= tools/setup

# Folders of src/kernel for one processor. The others are left out of the build.
KERNELS_x86_64 := src/kernel/x86
FOREIGN := $(filter-out $(KERNELS_$(ARCH)),$(patsubst %/,%,$(wildcard src/kernel/*/)))
SRC     := $(filter-out $(if $(MPI),,src/comm/mpi%) src/server/tls_$(if $(TLS),none,openssl).c $(addsuffix /%,$(FOREIGN)),$(wildcard src/*/*.c src/*/*/*.c))
LIB_OBJ := $(patsubst %.c,$(B)/%.o,$(filter-out src/cli/% src/server/%,$(SRC)))
CLI_OBJ := $(patsubst %.c,$(B)/%.o,$(filter src/cli/% src/server/%,$(SRC)))
TESTS   := $(patsubst tests/check_%.c,%,$(wildcard tests/check_*.c))
T       ?= $(TESTS)
CHECKS  := $(patsubst %,$(B)/tests/check_%,$(T))
FUZZERS := $(patsubst tests/fuzz/%.c,$(B)/fuzz/%,$(wildcard tests/fuzz/fuzz_*.c))
# Tests with several threads: these also run under ThreadSanitizer.
THREADED := $(filter team comm schedule engine ranks parallel serving server server_load,$(TESTS))
C_FILES := $(wildcard src/*/*.[ch] src/*/*/*.[ch] tests/*.[ch] tests/fuzz/*.[ch] include/*.h examples/*.c)

all: $(if $(CLI_OBJ),$(B)/glia) $(B)/libglia.a $(B)/libglia.so

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 18

setup: ## install the Debian packages that are missing
	@$(SETUP)

run: setup ## build, then let the bundled demo model answer (P="a question"), then chat if a terminal is there
	@$(MAKE) --no-print-directory -s all
	@$(B)/glia run models/qwen3-demo -p "$(or $(P),Hello! Who are you? Tell me a story.)"
	@if [ -t 0 ] && [ -z "$(P)" ]; then $(B)/glia run models/qwen3-demo; fi

test: setup ## build, then every test; T="name name" runs only these
	@$(MAKE) --no-print-directory -s -k all check-programs
	@B=$(B) tools/run_tests $(CHECKS)

check-programs: $(CHECKS)

# An ARM build, run under qemu with the plain-C kernels. The listed tests take minutes there, or need MPI.
ARM_CC      ?= aarch64-linux-gnu-gcc
ARM_RUNNER  := qemu-aarch64-static -L /
ARM_SLOW    := calibrate constrained device drafts formats generate heads heads_cli lora_rows parallel pays quantize schedule server server_apis server_load server_pages server_vllm speculation typing
ARM_NO_MPI  := comm_mpi engines_mpi ranks_mpi mpi_streams server_mpi
arm: ## build for 64-bit ARM, run its tests under qemu, compare its logits with x86's bit for bit
	@$(SETUP) arm
	@for t in $(filter $(ARM_SLOW),$(T)); do echo "SKIPPED: ARM: $$t: takes minutes under qemu"; done
	@for t in $(filter $(ARM_NO_MPI),$(T)); do echo "SKIPPED: ARM: $$t: needs MPI for ARM"; done
	@$(MAKE) --no-print-directory test B=build/arm CC="$(ARM_CC)" RUNNER="$(ARM_RUNNER)" SETUP=true \
	  T="$(filter-out $(ARM_SLOW) $(ARM_NO_MPI),$(T))"
	@$(MAKE) --no-print-directory -s all
	@tools/same_bits . build/arm/glia --runner "$(ARM_RUNNER)" \
	  --only "formats, ref, tests/golden" --only "chunks, ref, tests/golden" \
	  --only "ranks, ref, tests/golden/ranks/qwen3-16-4" \
	  --only "formats, ref, models/qwen3-demo, bfloat16 cache" \
	  --only "formats, ref, models/smollm3-demo, float32 cache"

san: ## every test under AddressSanitizer and UBSan, then the threaded ones under ThreadSanitizer
	@$(MAKE) --no-print-directory test B=build/asan SETUP=true \
	  CFLAGS="-O1 -g -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=all"
	@$(MAKE) --no-print-directory test B=build/tsan SETUP=true T="$(THREADED)" CFLAGS="-O1 -g -fsanitize=thread"

fuzz: ## every fuzz target for FUZZ_SECONDS (20) each; needs clang
	@$(MAKE) --no-print-directory -s B=build/fuzz CC=clang fuzz-programs \
	  CFLAGS="-O1 -g -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all"
	@tools/run_fuzz build/fuzz/fuzz $(FUZZ_SECONDS)

fuzz-programs: $(FUZZERS)

# PYTHON needs torch, transformers and safetensors. ../shared/tools/real_models makes the models.
DIR    ?= $(HOME)/.cache/glia-real-models
PYTHON ?= python3
real: ## real models in DIR (~/.cache/glia-real-models) against Transformers: number formats on text, greedy answers
	@$(MAKE) --no-print-directory -s all
	@PYTHON="$(PYTHON)" tools/real "$(DIR)" --glia $(B)/glia $(REAL)

bench: all ## speed of the demo model and of dummy weights, as shares of the ceilings
	@$(B)/glia bench models/qwen3-demo

style: ## layer edges, limits of docs and code, formatting
	@python3 tools/check_layers.py src
	@python3 tools/check_style.py
	@clang-format --dry-run -Werror $(C_FILES)

format: ## rewrite the sources as .clang-format says
	@clang-format -i $(C_FILES)

install: all ## into $(DESTDIR)$(PREFIX), with a pkg-config file
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/lib/pkgconfig $(DESTDIR)$(PREFIX)/include
	install -m 755 $(B)/glia $(DESTDIR)$(PREFIX)/bin/
	install -m 644 $(B)/libglia.a $(DESTDIR)$(PREFIX)/lib/
	install -m 755 $(B)/libglia.so $(DESTDIR)$(PREFIX)/lib/libglia.so.$(VERSION)
	ln -sf libglia.so.$(VERSION) $(DESTDIR)$(PREFIX)/lib/libglia.so.0
	ln -sf libglia.so.0 $(DESTDIR)$(PREFIX)/lib/libglia.so
	install -m 644 include/glia.h $(DESTDIR)$(PREFIX)/include/
	sed 's|@PREFIX@|$(PREFIX)|;s|@VERSION@|$(VERSION)|;s|@MPI_LIBS@|$(MPI_LIBS)|' tools/glia.pc.in > $(DESTDIR)$(PREFIX)/lib/pkgconfig/glia.pc

clean: ## remove build/
	rm -rf build

$(B)/src/comm/%.o $(B)/tests/check_comm_mpi.o $(B)/tests/check_ranks_mpi.o $(B)/tests/check_mpi_streams.o $(B)/tests/check_engines_mpi.o $(B)/tests/check_server_mpi.o: HOUSE += $(MPI_FLAGS)
$(B)/src/%_avx2.o:   ISA := -mavx2 -mfma -mf16c
$(B)/src/%_avx512.o: ISA := -mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx2 -mfma
$(B)/src/%_avx512_bf16.o: ISA := -mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx512vnni -mavx512bf16 -mavx2 -mfma
$(B)/src/%_avxvnni.o: ISA := -mavxvnni -mavx2 -mfma
$(B)/src/%_vnni.o:   ISA := -mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx512vnni -mavx2 -mfma
$(B)/src/%_amx.o:    ISA := -mamx-tile -mamx-bf16 -mamx-int8 -mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx512bf16 -mavx2 -mfma

$(B)/src/server/embedded.o: src/server/page.html src/server/shapes.json

$(B)/%.o: %.c $(B)/flags
	@mkdir -p $(@D)
	$(CC) $(HOUSE) $(CFLAGS) $(ISA) -MMD -MP -c $< -o $@

# The flags that built this directory. Other flags rebuild everything in it.
$(B)/flags: FORCE
	@mkdir -p $(@D)
	@echo '$(CC) $(HOUSE) $(MPI) $(TLS) $(CFLAGS)' | cmp -s - $@ || echo '$(CC) $(HOUSE) $(MPI) $(TLS) $(CFLAGS)' > $@

$(B)/libglia.a: $(LIB_OBJ)
	@rm -f $@
	$(AR) rcs $@ $^
$(B)/libglia.so: $(LIB_OBJ)
	$(CC) $(CFLAGS) -shared -Wl,-soname,libglia.so.0 -Wl,-z,defs $^ $(LIBS) -o $@
$(B)/glia: $(CLI_OBJ) $(B)/libglia.a
	$(CC) $(CFLAGS) $^ $(HTTP_LIBS) $(LIBS) -o $@

$(B)/tests/%: HOUSE += -Itests
$(B)/tests/check_%: $(B)/tests/check_%.o $(B)/tests/check.o $(B)/tests/guard_malloc.o $(B)/libglia.a
	$(CC) $(CFLAGS) $^ -lcmocka $(LIBS) -o $@
# A program of another version, for the test that starts it as a rank beside this version.
OTHER := $(B)/tests/glia-0.0.9
$(OTHER): src/comm/comm.c src/comm/mpi.c $(CLI_OBJ) $(B)/libglia.a
	@mkdir -p $(@D)
	$(CC) $(filter-out -DGLIA_VERSION=%,$(HOUSE)) -DGLIA_VERSION='"0.0.9"' $(MPI_FLAGS) $(CFLAGS) $^ $(HTTP_LIBS) $(LIBS) -o $@
$(if $(MPI),$(B)/tests/check_ranks_mpi: | $(OTHER))
# Fuzz targets read files and text. Instrumented kernels would take minutes to compile.
FUZZED := $(filter $(addprefix $(B)/src/,base/% format/% grammar/% jinja/% text/% draft/head.o draft/head_config.o draft/head_file.o),$(LIB_OBJ))
$(B)/fuzz/fuzz_request: $(patsubst %,$(B)/src/server/%.o,messages_chat params problem responses_chat text)
$(B)/fuzz/fuzz_importance: $(patsubst %,$(B)/src/model/%.o,importance spec llama qwen2 qwen3 smollm3)
$(B)/fuzz/fuzz_store: $(addprefix $(B)/src/engine/,store.o store_index.o)
$(B)/fuzz/fuzz_draft_config: $(addprefix $(B)/src/draft/,config.o grow.o shape.o tree.o)
$(B)/fuzz/%: $(B)/tests/fuzz/%.o $(FUZZED)
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) -fsanitize=fuzzer $^ $(LIBS) -o $@

-include $(shell find $(B) -name '*.d' 2>/dev/null)
FORCE:
.PHONY: all help setup run test check-programs arm san fuzz fuzz-programs real bench style format install clean FORCE
.SECONDARY:
