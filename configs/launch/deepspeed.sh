#!/bin/bash
# HOSTS=hostfile bash configs/launch/deepspeed.sh mine.yaml
# A hostfile has a line for each machine, `name slots=8`, and ssh without a password between them. Without HOSTS: this machine alone.
# The launcher hands environment variables over that stand in ~/.deepspeed_env.
set -eu
exec deepspeed ${HOSTS:+--hostfile "$HOSTS"} --module atomfield pretrain "$@"
