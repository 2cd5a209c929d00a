# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0
#
# Puts a bash shell into the environment that ./scripts/setup has made, with the executables of
# the package on the PATH:   source scripts/env.bash

_vla_root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
if [ ! -f "$_vla_root/.venv/ros_setup" ]; then
  echo "env.bash: nothing is set up yet: run $_vla_root/scripts/setup first" >&2
  unset _vla_root
  return 1
fi

_vla_prepend() {  # NAME FOLDER: put the folder first in the list, once
  case ":${!1-}:" in
    *":$2:"*) ;;
    *) export "$1=$2${!1:+:${!1}}" ;;
  esac
}

# Exported, so that scripts which are called from this shell make the same choice again.
ROS_SETUP=$(cat "$_vla_root/.venv/ros_setup")
export ROS_SETUP

if [ "$ROS_SETUP" = none ]; then
  # A ROS installation sourced earlier would mix its libraries with those of the wheels.
  case ":${AMENT_PREFIX_PATH-}:" in
    :: | *":$_vla_root/.venv:"*) ;;
    *) unset AMENT_PREFIX_PATH CMAKE_PREFIX_PATH COLCON_PREFIX_PATH LD_LIBRARY_PATH PYTHONPATH ;;
  esac
  _vla_prepend AMENT_PREFIX_PATH "$_vla_root/.venv"
  _vla_prepend CMAKE_PREFIX_PATH "$_vla_root/.venv"
  for _vla_folder in "$_vla_root"/.venv/lib/python3*/site-packages/ros_*.libs "$_vla_root/.venv/lib"
  do
    _vla_prepend LD_LIBRARY_PATH "$_vla_folder"
  done
  unset _vla_folder
  # With the library path set, the wheels need not start every Python a second time to set it.
  export _ROS_WHEELS_BOOTSTRAP_COMPLETE=1
else
  source "$ROS_SETUP"
fi
source "$_vla_root/.venv/bin/activate"

if [ -f "$_vla_root/install/local_setup.bash" ]; then
  source "$_vla_root/install/local_setup.bash"
  _vla_prepend PATH "$_vla_root/install/vla_ros/lib/vla_ros"
fi
if [ -f "$_vla_root/.venv-libero/stamp" ]; then
  export VLA_LIBERO_ENV=$_vla_root/.venv-libero
fi
unset _vla_root
unset -f _vla_prepend
