# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0
#
# vla_ros on a ROS 2 image, for users:
#   docker build -t vla_ros .
#   docker run --rm vla_ros vla_demo
#   docker run --rm --gpus all --network host --ipc host -v /data/checkpoints:/checkpoints vla_ros \
#     ros2 launch vla_ros vla_inference.launch.py checkpoint:=/checkpoints/openvla-7b
# The host's IPC is where Fast DDS shares memory with nodes outside, and Docker's own /dev/shm of
# 64 MB is too small for images: without --ipc host give it --shm-size=1g.

ARG ROS_DISTRO=jazzy
FROM ros:${ROS_DISTRO}

SHELL ["/bin/bash", "-c"]
RUN apt-get update \
  && apt-get install --no-install-recommends -y \
    g++ cmake make libegl1 libgl1-mesa-dri python3-colcon-common-extensions python3-dev python3-pip python3-venv \
    ros-${ROS_DISTRO}-cv-bridge ros-${ROS_DISTRO}-rmw-cyclonedds-cpp \
  && rm -rf /var/lib/apt/lists/*

# For a machine without a GPU: --build-arg PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu
ARG PIP_EXTRA_INDEX_URL
ARG PIP_NO_CACHE_DIR=1
COPY . /opt/vla_ros
RUN /opt/vla_ros/scripts/setup

ENTRYPOINT ["/bin/bash", "-c", "source /opt/vla_ros/scripts/env.bash && exec \"$@\"", "--"]
CMD ["ros2", "launch", "vla_ros", "vla_inference.launch.py", "--show-args"]
