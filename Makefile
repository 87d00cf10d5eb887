# SPDX-License-Identifier: GPL-3.0-or-later
#
#     make                   the launcher and the Python files, in $(BUILD)
#     make install           as root: for real. With DESTDIR or as an ordinary user: without group and
#                            capability, which are then the packager's step
#     make uninstall         removes what install put there, but keeps a policy that was changed
#     make check             the test suite
#     make dist              the source as $(BUILD)/tapdraft-VERSION.tar.gz
#     make launcher-asan     the launcher under AddressSanitizer and UBSan, for the tests
#
# The build asks nothing of the network. The same source gives the same bytes in any folder, at any time.

PREFIX = /usr/local
SYSCONFDIR = /etc
LIBEXECDIR = $(PREFIX)/libexec
BINDIR = $(PREFIX)/bin
MANDIR = $(PREFIX)/share/man
DESTDIR =
BUILD = build
GROUP = tapdraft

# The distribution's own Python: the launcher embeds it, so all of it must be root's.
PYTHON = /usr/bin/python3
PKG_CONFIG = pkg-config
INSTALL = install
CFLAGS ?= -O2 -g

# Only the helper is in HELPERDIR, because all that is in it may run with CAP_NET_ADMIN.
HELPERDIR = $(PREFIX)/lib/tapdraft
CLIDIR = $(PREFIX)/lib/tapdraft-cli
LAUNCHER = $(LIBEXECDIR)/tapdraft/tapdraft-helper
POLICY = $(SYSCONFDIR)/tapdraft/policy.conf

VERSION = $(shell sed -n 's/^__version__ = "\(.*\)"/\1/p' helper/__init__.py)
HELPER_FILES = $(sort $(wildcard helper/*.py helper/*.nft))
CLI_FILES = $(sort $(shell find generator templates -name '*.py' -o -name '*.j2'))
MANUALS = $(sort $(wildcard man/*.1 man/*.5 man/*.8))
STAGE = $(BUILD)/stage

if_known = $(shell $(CC) $(1) -E -x c /dev/null >/dev/null 2>&1 && echo $(1))
from_python = $(shell $(PYTHON) -I -c 'from sysconfig import get_config_var as v, get_path; print($(1))')

HARDENING = -Wall -Wextra -Werror -fPIE -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=3 -fstack-protector-strong \
	$(call if_known,-fstack-clash-protection) $(call if_known,-fcf-protection) \
	$(call if_known,-mbranch-protection=standard)
SANITIZERS = -Wall -Wextra -Werror -fPIE -g -O1 -fno-omit-frame-pointer \
	-fsanitize=address,undefined -fno-sanitize-recover=all
INCLUDES = -I$(BUILD) -isystem $(call from_python,get_path("include")) \
	$(shell $(PKG_CONFIG) --cflags libseccomp) -ffile-prefix-map=$(CURDIR)=.
LIBRARIES = -L$(call from_python,v("LIBDIR")) -lpython$(call from_python,v("LDVERSION")) \
	$(shell $(PKG_CONFIG) --libs libseccomp)
LINKING = -pie -Wl,-z,relro,-z,now,-z,noexecstack,--as-needed

all: $(BUILD)/tapdraft-helper $(BUILD)/staged

$(BUILD)/tapdraft-helper: helper/launcher.c $(BUILD)/paths.h Makefile
	$(CC) $(CPPFLAGS) $(CFLAGS) $(HARDENING) $(INCLUDES) $< -o $@ $(LDFLAGS) $(LINKING) $(LIBRARIES)

launcher-asan: $(BUILD)/tapdraft-helper-asan
$(BUILD)/tapdraft-helper-asan: helper/launcher.c tests/sanitize/options.c $(BUILD)/paths.h Makefile
	$(CC) $(SANITIZERS) $(INCLUDES) $(filter %.c,$^) -o $@ $(LINKING) $(LIBRARIES)

# Made each time and put in place when it differs, so that another PREFIX or PYTHON is noticed.
$(BUILD)/paths.h: FORCE
	@mkdir -p $(BUILD)
	@$(PYTHON) -I packaging/launcher-paths $(HELPERDIR) $(SYSCONFDIR)/tapdraft > $@.new
	@cmp -s $@.new $@ && rm $@.new || mv $@.new $@

# Compiled here and not by Python when it runs: the helper writes no bytecode, and the hash of the
# source instead of its time keeps the files the same from one build to the next.
$(BUILD)/staged: $(HELPER_FILES) $(CLI_FILES) Makefile FORCE
	@rm -rf $(STAGE)
	@for file in $(HELPER_FILES); do \
		$(INSTALL) -D -m 644 $$file $(STAGE)$(HELPERDIR)/tapdraft/$$file || exit 1; done
	@for file in $(CLI_FILES); do \
		$(INSTALL) -D -m 644 $$file $(STAGE)$(CLIDIR)/tapdraft/$$file || exit 1; done
	@sed -i 's|^PATH = ".*"$$|PATH = "$(POLICY)"|' $(STAGE)$(HELPERDIR)/tapdraft/helper/policy.py
	@grep -qxF 'PATH = "$(POLICY)"' $(STAGE)$(HELPERDIR)/tapdraft/helper/policy.py
	$(PYTHON) -I -m compileall -q -f --invalidation-mode unchecked-hash -s $(abspath $(STAGE)) -p / \
		$(abspath $(STAGE)$(HELPERDIR) $(STAGE)$(CLIDIR))
	@mkdir -p $(STAGE)$(BINDIR)
	@printf '%s\n' '#!$(PYTHON) -I' '"""tapdraft: see tapdraft(1)."""' '' 'import sys' '' \
		'sys.path[:0] = ["$(CLIDIR)", "$(HELPERDIR)"]' '' \
		'from tapdraft.generator.cli import main' '' 'sys.exit(main())' > $(STAGE)$(BINDIR)/tapdraft
	@touch $@

check:
	$(PYTHON) -P -m pytest

install: all
	rm -rf $(DESTDIR)$(HELPERDIR) $(DESTDIR)$(CLIDIR)
	cd $(STAGE) && find . -name '*.py*' -o -name '*.j2' -o -name '*.nft' | LC_ALL=C sort | while read -r file; do \
		$(INSTALL) -D -m 644 "$$file" "$(DESTDIR)/$${file#./}" || exit 1; done
	$(INSTALL) -D -m 755 $(STAGE)$(BINDIR)/tapdraft $(DESTDIR)$(BINDIR)/tapdraft
	for page in $(MANUALS); do \
		$(INSTALL) -D -m 644 $$page $(DESTDIR)$(MANDIR)/man$${page##*.}/$${page#man/} || exit 1; done
	[ -e $(DESTDIR)$(POLICY) ] || $(INSTALL) -D -m 644 packaging/policy.conf $(DESTDIR)$(POLICY)
	$(INSTALL) -D -m 750 $(BUILD)/tapdraft-helper $(DESTDIR)$(LAUNCHER)
	@DESTDIR='$(DESTDIR)' sh packaging/capability $(LAUNCHER) $(GROUP)

uninstall:
	rm -rf $(DESTDIR)$(HELPERDIR) $(DESTDIR)$(CLIDIR)
	rm -f $(DESTDIR)$(LAUNCHER) $(DESTDIR)$(BINDIR)/tapdraft
	rm -f $(foreach page,$(notdir $(MANUALS)),$(DESTDIR)$(MANDIR)/man$(subst .,,$(suffix $(page)))/$(page))
	@if cmp -s packaging/policy.conf $(DESTDIR)$(POLICY); then rm $(DESTDIR)$(POLICY); \
	elif [ -e $(DESTDIR)$(POLICY) ]; then echo "note: $(DESTDIR)$(POLICY) was changed and is kept"; fi
	@for folder in $(dir $(LAUNCHER) $(POLICY)); do \
		[ ! -d $(DESTDIR)$$folder ] || rmdir --ignore-fail-on-non-empty $(DESTDIR)$$folder; done
	@[ -n '$(DESTDIR)' ] || echo "note: the group $(GROUP) is kept; remove it with: groupdel $(GROUP)"

dist:
	@mkdir -p $(BUILD)
	git archive --format=tar --prefix=tapdraft-$(VERSION)/ HEAD | gzip -9n > $(BUILD)/tapdraft-$(VERSION).tar.gz

clean:
	rm -rf $(BUILD)

.PHONY: all launcher-asan check install uninstall dist clean FORCE
