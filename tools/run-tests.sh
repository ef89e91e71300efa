#!/bin/sh
# Runs pytest with the given arguments; what failed is run once more, by itself.
#
# Real browsers and servers on two busy cores run into time-outs now and then. A test that passes
# at the second try only is named at the end: it is a bug in the product or in the test, and
# wants to be found, but must not hide whether everything else is sound.
set -u
pytest=${PYTEST:-.venv/bin/python -m pytest}
$pytest "$@"
status=$?
[ "$status" -eq 1 ] || exit "$status"
echo
echo "Once more, only what failed:"
$pytest "$@" -n 0 --last-failed --last-failed-no-failures none
status=$?
if [ "$status" -eq 0 ]; then
	echo "PASSED ONLY AT THE SECOND TRY: the failures of the first run, above. Please look into them."
fi
exit "$status"
