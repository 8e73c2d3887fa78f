# GNU make. What is here calls cargo, or a script of ci/ that runs by hand too.
#
#   make                  build the shared library, the archive, and the library
#                         for LD_PRELOAD
#   make check            every test; PROFILE=debug (as by default) or release
#   make demo             build, install aside, serve real clients
#   make soak             everything at random; MINUTES= SEED= ROUND= PRELOAD=
#   make bench            the cost table; OTHER=path of another library, ARGS=
#   make install          PREFIX= LIBDIR= INCLUDEDIR= DESTDIR= PROFILE=
#   make uninstall        removes what install put there, and nothing else
#   make header           writes include/sys/event.h anew from the sources
#   make clean

PREFIX = /usr/local
LIBDIR = $(PREFIX)/lib
INCLUDEDIR = $(PREFIX)/include
DESTDIR =
CARGO = cargo
INSTALL = install

# Set by a caller who has built already, to install what is there.
BUILT =

PROFILE = release
ifneq ($(filter-out debug release,$(PROFILE)),)
$(error PROFILE is debug or release, not $(PROFILE))
endif
flag_release = --release
target_dir = $(or $(CARGO_TARGET_DIR),target)$(if $(CARGO_BUILD_TARGET),/$(CARGO_BUILD_TARGET))
out = $(target_dir)/$(PROFILE)

# libkqueue.so.0 is the name that programs are linked to, and stays. Behind it
# is the version of this package: 3.0.x is libkqueue.so.0.3.0.
version := $(shell sed -n 's/^version = "\(.*\)"$$/\1/p' Cargo.toml)
numbers := $(subst ., ,$(version))
soname = libkqueue.so.0
file = $(soname).$(word 1,$(numbers)).$(word 2,$(numbers))

lib = $(DESTDIR)$(LIBDIR)
include = $(DESTDIR)$(INCLUDEDIR)/kqueue
pc = $(lib)/pkgconfig/libkqueue.pc
preload = $(lib)/libkqueue-preload.so

# Tests and scripts call make themselves, with variables of their own.
MAKEOVERRIDES =

all: build

build:
	$(if $(BUILT),@:,$(CARGO) build $(flag_$(PROFILE)))

install: build
	$(INSTALL) -d "$(lib)/pkgconfig" "$(include)/sys"
	$(INSTALL) -m 755 "$(out)/libkqueue.so" "$(lib)/$(file)"
	ln -sf $(file) "$(lib)/$(soname)"
	ln -sf $(soname) "$(lib)/libkqueue.so"
	$(INSTALL) -m 644 "$(out)/libkqueue.a" "$(lib)/libkqueue.a"
	$(INSTALL) -m 755 "$(out)/libkqueue_preload.so" "$(preload)"
	$(INSTALL) -m 644 include/sys/event.h "$(include)/sys/event.h"
	sed -e 's|@PREFIX@|$(PREFIX)|' \
	    -e 's|@LIBDIR@|$(patsubst $(PREFIX)/%,$${prefix}/%,$(LIBDIR))|' \
	    -e 's|@INCLUDEDIR@|$(patsubst $(PREFIX)/%,$${prefix}/%,$(INCLUDEDIR))|' \
	    -e 's|@VERSION@|$(version)|' libkqueue.pc.in > "$(pc)"
	chmod 644 "$(pc)"

# The two directories that are ours alone go when they are empty.
uninstall:
	rm -f "$(lib)/libkqueue.so" "$(lib)/$(soname)" "$(lib)/$(file)" \
	    "$(lib)/libkqueue.a" "$(preload)" "$(include)/sys/event.h" "$(pc)"
	rmdir "$(include)/sys" "$(include)" 2>/dev/null || :

# Here the default is debug: it has the assertions.
check: PROFILE = debug
check:
	@ci/need.sh $(CARGO) cc c++ make pkg-config nm readelf
	$(CARGO) test $(flag_$(PROFILE))

demo:
	ci/demo.sh

soak:
	MINUTES="$(MINUTES)" SEED="$(SEED)" ROUND="$(ROUND)" \
	    PRELOAD="$(PRELOAD)" ci/soak.sh

bench:
	OTHER="$(OTHER)" ARGS="$(ARGS)" ci/bench.sh

header:
	ci/header.sh

clean:
	$(CARGO) clean

.PHONY: all build install uninstall check demo soak bench header clean
