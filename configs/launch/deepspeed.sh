#!/bin/bash
# HOSTS=hostfile bash configs/launch/deepspeed.sh mine.yaml
# A hostfile has a line for each machine, `name slots=8`, and ssh without a password between them. Without HOSTS: this machine alone.
# Without ssh start this on every machine, with NODE=0 (1, ...) for its place in the hostfile and HEAD for the first one's name.
# The launcher hands environment variables over that stand in ~/.deepspeed_env.
set -eu
deepspeed ${HOSTS:+--hostfile "$HOSTS"} ${NODE:+--no_ssh --node_rank "$NODE" --master_addr "$HEAD"} --module atomfield pretrain "$@" &
launcher=$!
# On one machine the launcher dies of a signal and leaves the ranks to themselves. Its child passes SIGTERM on, and they save and end;
# with pdsh, for several machines, the launcher does.
told() {
  if pgrep -P "$launcher" pdsh > /dev/null; then kill -TERM "$launcher"; else pkill -TERM -P "$launcher" || true; fi
}
trap told TERM USR1 INT
while
  wait "$launcher" && code=0 || code=$?
  kill -0 "$launcher" 2> /dev/null  # a signal ends the wait before the launcher ends
do :; done
exit "$code"
