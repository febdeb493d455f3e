# Sourced by the scripts beside it.

cd "$(dirname "${BASH_SOURCE[0]}")/.."

# The toolchain must not ask git about a clone that another user owns, which is
# what a container often has.
export GOFLAGS="${GOFLAGS:--buildvcs=false}"

# step NAME COMMAND... runs the command and says how long it took.
step() {
  local name=$1 start=$SECONDS
  shift
  printf '\n=== %s\n' "$name"
  "$@"
  printf -- '--- %s: %ss\n' "$name" "$((SECONDS - start))"
}
