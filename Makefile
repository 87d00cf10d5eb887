# SPDX-License-Identifier: GPL-3.0-or-later
#
#     make                   the launcher and the Python files, in $(BUILD)
#     make install           as root: for real. With DESTDIR or as an ordinary user: without group and
#                            capability, which are then the packager's step
#     make install-helper    the privileged half alone, and
#     make install-command   the other one, which works without it
#     make install-service   a service instead of the capability, for file systems that hold none
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
DOCDIR = $(PREFIX)/share/doc/tapdraft
SYSUSERSDIR = $(PREFIX)/lib/sysusers.d
UNITDIR = $(PREFIX)/lib/systemd/system
# Files by which network managers leave guests' taps alone. NetworkManager reads nothing below /usr/local.
NETWORKDDIR = $(PREFIX)/lib/systemd/network
NMDIR = $(if $(filter %/usr,$(PREFIX)),$(PREFIX)/lib,$(SYSCONFDIR))/NetworkManager/conf.d
BASHCOMPDIR = $(PREFIX)/share/bash-completion/completions
ZSHCOMPDIR = $(PREFIX)/share/zsh/site-functions
FISHCOMPDIR = $(PREFIX)/share/fish/vendor_completions.d
DESTDIR =
BUILD = build
GROUP = tapdraft
# 1 for NixOS, where not the launcher has the capability but a wrapper that starts it.
WRAPPED = 0

# Nobody else can write to what is built or installed, whatever the umask is.
.SHELLFLAGS = -c 'umask 022 && eval "$$1"' sh

# The distribution's own Python: the launcher embeds it, so all of it must be root's.
PYTHON = /usr/bin/python3
PKG_CONFIG = pkg-config
INSTALL = install
CFLAGS ?= -O2 -g

# Only the helper is in HELPERDIR, because all that is in it may run with CAP_NET_ADMIN. The command has a
# copy of its own of what both halves share, so that it works where the helper is not installed.
HELPERDIR = $(PREFIX)/lib/tapdraft
CLIDIR = $(PREFIX)/lib/tapdraft-cli
LAUNCHER = $(LIBEXECDIR)/tapdraft/tapdraft-helper
POLICY = $(SYSCONFDIR)/tapdraft/policy.conf

VERSION = $(shell sed -n 's/^__version__ = "\(.*\)"/\1/p' helper/__init__.py)
# The day of the release, unless told otherwise: the newest one that CHANGELOG.md has.
RELEASED = $(shell sed -n 's/^\#\# \[[0-9.]*\] - \([0-9-]*\)$$/\1/p' CHANGELOG.md | head -n 1)
EPOCH = $(or $(SOURCE_DATE_EPOCH),$(shell date -u -d '$(RELEASED)' +%s))
HELPER_FILES = $(sort $(wildcard helper/*.py helper/explain/*.py helper/*.nft))
CLI_FILES = $(HELPER_FILES) $(sort $(shell find generator templates -name '*.py' -o -name '*.j2'))
HELPER_MANUALS = $(sort $(wildcard man/tapdraft-helper.8 man/tapdraft-policy.conf.5))
CLI_MANUALS = $(filter-out $(HELPER_MANUALS),$(sort $(wildcard man/*.1 man/*.5 man/*.7 man/*.8)))
# With their folders, so that the links in them lead somewhere.
DOCUMENTS = README.md CHANGELOG.md CONTRIBUTING.md SECURITY.md $(sort $(wildcard doc/*.md man/text/*.txt))
MANUALS = $(HELPER_MANUALS) $(CLI_MANUALS)
COMPLETIONS = $(DESTDIR)$(BASHCOMPDIR)/tapdraft $(DESTDIR)$(ZSHCOMPDIR)/_tapdraft $(DESTDIR)$(FISHCOMPDIR)/tapdraft.fish
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

# The messages that load the firewall, so that the helper has only to send them.
$(BUILD)/ruleset.bin: helper/ruleset.nft tools/compile_ruleset.py Makefile
	@mkdir -p $(BUILD)
	$(PYTHON) -I tools/compile_ruleset.py $< > $@.new
	@mv $@.new $@

$(BUILD)/tapdraft-helper: helper/launcher.c $(BUILD)/paths.h Makefile
	$(CC) $(CPPFLAGS) $(CFLAGS) $(HARDENING) $(INCLUDES) $< -o $@ $(LDFLAGS) $(LINKING) $(LIBRARIES)

launcher-asan: $(BUILD)/tapdraft-helper-asan
$(BUILD)/tapdraft-helper-asan: helper/launcher.c tests/sanitize/options.c $(BUILD)/paths.h Makefile
	$(CC) $(SANITIZERS) $(INCLUDES) $(filter %.c,$^) -o $@ $(LINKING) $(LIBRARIES)

# Made each time and put in place when it differs, so that another PREFIX or PYTHON is noticed.
$(BUILD)/paths.h: FORCE
	@mkdir -p $(BUILD)
	@$(PYTHON) -I tools/launcher-paths $(HELPERDIR) $(SYSCONFDIR)/tapdraft > $@.new
	@echo '#define WRAPPED $(WRAPPED)' >> $@.new
	@cmp -s $@.new $@ && rm $@.new || mv $@.new $@

# Compiled here and not by Python when it runs: the helper writes no bytecode, and the hash of the
# source instead of its time keeps the files the same from one build to the next.
$(BUILD)/staged: $(BUILD)/ruleset.bin $(HELPER_FILES) $(CLI_FILES) Makefile FORCE
	@rm -rf $(STAGE)
	@$(INSTALL) -D -m 644 $< $(STAGE)$(HELPERDIR)/tapdraft/helper/ruleset.bin
	@for file in $(HELPER_FILES); do \
		$(INSTALL) -D -m 644 $$file $(STAGE)$(HELPERDIR)/tapdraft/$$file || exit 1; done
	@for file in $(CLI_FILES); do \
		$(INSTALL) -D -m 644 $$file $(STAGE)$(CLIDIR)/tapdraft/$$file || exit 1; done
	@for folder in $(HELPERDIR) $(CLIDIR); do \
		sed -i 's|^PATH = ".*"$$|PATH = "$(POLICY)"|' $(STAGE)$$folder/tapdraft/helper/policy.py && \
		grep -qxF 'PATH = "$(POLICY)"' $(STAGE)$$folder/tapdraft/helper/policy.py || exit 1; done
	@for folder in $(HELPERDIR) $(CLIDIR); do \
		sed -i 's|^PROGRAM = "[^"]*"|PROGRAM = "$(LAUNCHER)"|' $(STAGE)$$folder/tapdraft/helper/__init__.py && \
		grep -qF 'PROGRAM = "$(LAUNCHER)"' $(STAGE)$$folder/tapdraft/helper/__init__.py || exit 1; done
	$(PYTHON) -I -m compileall -q -f --invalidation-mode unchecked-hash -s $(abspath $(STAGE)) -p / \
		$(abspath $(STAGE)$(HELPERDIR) $(STAGE)$(CLIDIR))
	@mkdir -p $(STAGE)$(BINDIR)
	@printf '%s\n' '#!$(PYTHON) -I' '"""tapdraft: see tapdraft(1)."""' '' 'import sys' '' \
		'sys.path.insert(0, "$(CLIDIR)")' '' \
		'from tapdraft.generator.cli import main' '' 'sys.exit(main())' > $(STAGE)$(BINDIR)/tapdraft
	@mkdir -p $(BUILD)/completion
	@for shell in bash zsh fish; do \
		$(PYTHON) -I packaging/completion/generate.py $$shell > $(BUILD)/completion/$$shell || exit 1; done
	@touch $@

check:
	$(PYTHON) -P -m pytest

install: install-command install-helper

# $(call make_folders,FOLDER...): folders of the system's, which are left as they are if they are there.
make_folders = mkdir -p $(addprefix $(DESTDIR),$(1))
# $(call own_folders,FOLDER...): folders of ours, which nobody else can write to, whatever the umask is.
own_folders = $(call make_folders,$(dir $(1))) && $(INSTALL) -d -m 755 $(addprefix $(DESTDIR),$(1))

# $(call copy_tree,FOLDER): what is staged of it, in place of what was there. It is copied beside that and
# then renamed: a call that is made meanwhile finds all of the one or all of the other.
define copy_tree
rm -rf $(DESTDIR)$(1).new
$(call own_folders,$(1) $(1).new)
cd $(STAGE)$(1) && find . -mindepth 1 -type d | LC_ALL=C sort | while read -r folder; do \
	$(INSTALL) -d -m 755 "$(abspath $(DESTDIR)$(1).new)/$$folder" || exit 1; done
cd $(STAGE)$(1) && find . -type f | LC_ALL=C sort | while read -r file; do \
	$(INSTALL) -m 644 "$$file" "$(abspath $(DESTDIR)$(1).new)/$$file" || exit 1; done
$(PYTHON) -I packaging/put-in-place $(DESTDIR)$(1)
endef
define copy_manuals
$(call make_folders,$(addprefix $(MANDIR)/man,$(sort $(subst .,,$(suffix $(1))))))
for page in $(1); do \
	$(INSTALL) -m 644 $$page $(DESTDIR)$(MANDIR)/man$${page##*.}/$${page#man/} || exit 1; done
endef

install-command: all
	$(call copy_tree,$(CLIDIR))
	$(call make_folders,$(BINDIR) $(BASHCOMPDIR) $(ZSHCOMPDIR) $(FISHCOMPDIR))
	$(INSTALL) -m 755 $(STAGE)$(BINDIR)/tapdraft $(DESTDIR)$(BINDIR)/tapdraft.new
	mv -f $(DESTDIR)$(BINDIR)/tapdraft.new $(DESTDIR)$(BINDIR)/tapdraft
	$(call copy_manuals,$(CLI_MANUALS))
	$(call own_folders,$(addprefix $(DOCDIR),/ /doc /man /man/text))
	for text in $(DOCUMENTS); do $(INSTALL) -m 644 $$text $(DESTDIR)$(DOCDIR)/$$text || exit 1; done
	$(INSTALL) -m 644 $(BUILD)/completion/bash $(DESTDIR)$(BASHCOMPDIR)/tapdraft
	$(INSTALL) -m 644 $(BUILD)/completion/zsh $(DESTDIR)$(ZSHCOMPDIR)/_tapdraft
	$(INSTALL) -m 644 $(BUILD)/completion/fish $(DESTDIR)$(FISHCOMPDIR)/tapdraft.fish

# $(call retire,LAUNCHER): removes one that has a capability. Who has it open could start it for as long as they
# keep it open: first nobody may.
retire = [ ! -f $(DESTDIR)$(1) ] || chmod 0 $(DESTDIR)$(1); rm -f $(DESTDIR)$(1)

# The launcher last, and whole: it has its group and capability before it has its name.
install-helper: all
	$(call copy_tree,$(HELPERDIR))
	$(call copy_manuals,$(HELPER_MANUALS))
	$(call make_folders,$(SYSUSERSDIR) $(NETWORKDDIR) $(NMDIR))
	$(INSTALL) -m 644 packaging/systemd/tapdraft.sysusers $(DESTDIR)$(SYSUSERSDIR)/tapdraft.conf
	$(INSTALL) -m 644 packaging/networks/05-tapdraft.network $(DESTDIR)$(NETWORKDDIR)/05-tapdraft.network
	$(INSTALL) -m 644 packaging/networks/networkmanager.conf $(DESTDIR)$(NMDIR)/05-tapdraft.conf
	$(call own_folders,$(patsubst %/,%,$(dir $(POLICY) $(LAUNCHER))))
	[ -e $(DESTDIR)$(POLICY) ] || $(INSTALL) -m 644 packaging/policy.conf $(DESTDIR)$(POLICY)
	$(INSTALL) -m 750 $(BUILD)/tapdraft-helper $(DESTDIR)$(LAUNCHER).new
	@DESTDIR='$(DESTDIR)' sh packaging/capability $(LAUNCHER) $(GROUP) $(DESTDIR)$(LAUNCHER).new
	$(call retire,$(LAUNCHER).old)
	[ ! -f $(DESTDIR)$(LAUNCHER) ] || ln $(DESTDIR)$(LAUNCHER) $(DESTDIR)$(LAUNCHER).old
	mv -f $(DESTDIR)$(LAUNCHER).new $(DESTDIR)$(LAUNCHER)
	$(call retire,$(LAUNCHER).old)

# Scripts look for tapdraft-helper in LIBEXECDIR first: the launcher there has to be closed to its group.
install-service: all
	[ -d $(DESTDIR)$(HELPERDIR)/tapdraft ] || { echo "error: first make install-helper" >&2; exit 1; }
	$(call make_folders,$(UNITDIR))
	$(INSTALL) -m 644 packaging/systemd/tapdraft.socket $(DESTDIR)$(UNITDIR)/tapdraft.socket
	for name in tapdraft@.service client; do \
		sed 's|@HELPERDIR@|$(HELPERDIR)|g; s|@LAUNCHER@|$(LAUNCHER)|g; s|@PYTHON@|$(PYTHON)|g' packaging/systemd/$$name.in \
			> $(BUILD)/$$name || exit 1; done
	$(INSTALL) -m 644 $(BUILD)/tapdraft@.service $(DESTDIR)$(UNITDIR)/tapdraft@.service
	$(INSTALL) -m 755 $(BUILD)/client $(DESTDIR)$(HELPERDIR)/tapdraft-helper
	{ printf '#!%s -ISB\nimport sys\n\n' $(PYTHON); \
		sed -n 's/^#define IMPORT_FOLDERS \(.*\)/sys.path[:] = [\1]/p' $(BUILD)/paths.h; \
		printf 'from tapdraft.helper.service import main\n\nmain()\n'; } > $(BUILD)/tapdraft-service
	$(INSTALL) -m 755 $(BUILD)/tapdraft-service $(DESTDIR)$(HELPERDIR)/tapdraft-service

uninstall:
	rm -f $(DESTDIR)$(UNITDIR)/tapdraft.socket $(DESTDIR)$(UNITDIR)/tapdraft@.service
	rm -rf $(foreach end,/ .new .old,$(DESTDIR)$(HELPERDIR)$(end) $(DESTDIR)$(CLIDIR)$(end))
	$(foreach end,/ .new .old,$(call retire,$(LAUNCHER)$(filter-out /,$(end))); )
	rm -f $(DESTDIR)$(BINDIR)/tapdraft $(COMPLETIONS) $(DESTDIR)$(SYSUSERSDIR)/tapdraft.conf
	rm -f $(foreach page,$(notdir $(MANUALS)),$(DESTDIR)$(MANDIR)/man$(subst .,,$(suffix $(page)))/$(page))
	rm -f $(DESTDIR)$(NETWORKDDIR)/05-tapdraft.network $(DESTDIR)$(NMDIR)/05-tapdraft.conf
	rm -f $(addprefix $(DESTDIR)$(DOCDIR)/,$(DOCUMENTS))
	@if cmp -s packaging/policy.conf $(DESTDIR)$(POLICY); then rm $(DESTDIR)$(POLICY); \
	elif [ -e $(DESTDIR)$(POLICY) ]; then echo "note: $(DESTDIR)$(POLICY) was changed and is kept"; fi
	@for folder in $(dir $(LAUNCHER) $(POLICY)) $(addprefix $(DOCDIR),/man/text /man /doc /); do \
		[ ! -d $(DESTDIR)$$folder ] || rmdir --ignore-fail-on-non-empty $(DESTDIR)$$folder; done
	@[ -n '$(DESTDIR)' ] || echo "note: the group $(GROUP) is kept; remove it with: groupdel $(GROUP)"

# What git knows of, as it is in this folder. Where the source was unpacked from such an archive, what belongs
# to it by name: not what was built or left there.
SOURCES = .ci .clang-format .editorconfig .gitignore .pre-commit-config.yaml CHANGELOG.md CONTRIBUTING.md LICENSE Makefile README.md SECURITY.md doc \
	generator helper man packaging pyproject.toml setup.cfg templates tests tools

dist:
	@mkdir -p $(BUILD)
	{ git ls-files -z 2>/dev/null | grep -z . || find $(SOURCES) \
		\( -name __pycache__ -o -name '*.egg-info' -o -name '.*_cache' -o -name .hypothesis \) -prune \
		-o -type f ! -name '*.pyc' ! -name '*~' ! -name '.*.sw?' -print0; } | \
	LC_ALL=C sort -z | \
	tar --create --null --files-from=- --format=ustar --mtime=@$(EPOCH) --mode=u+rw,go=rX \
		--owner=0 --group=0 --numeric-owner --transform='s,^,tapdraft-$(VERSION)/,' | \
		gzip -9n > $(BUILD)/tapdraft-$(VERSION).tar.gz

clean:
	rm -rf $(BUILD)

.PHONY: all launcher-asan check install install-command install-helper install-service uninstall dist clean FORCE
