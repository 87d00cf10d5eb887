# shellcheck shell=bash disable=SC2034  # read by portage
# Distributed under the terms of the GNU General Public License v3 or later

EAPI=8

inherit acct-group

# -1: any free number.
ACCT_GROUP_ID=-1
