# One image for every role: head, workers and driver, with or without a GPU.
#
#   docker build --tag quiver:0.1.0 .
#
# PyTorch's build for Linux brings CUDA's libraries; where the host has NVIDIA's driver, 580 or later, and its container toolkit,
# `docker run --gpus all` finds the GPU. For a build of another kind, name PyTorch's index of it (its installation page has the
# addresses): for processors alone, which is much smaller, or for another version of CUDA.
#
#   docker build --tag quiver:0.1.0-cpu --build-arg TORCH_INDEX=ADDRESS .

FROM python:3.11-slim-bookworm

# EGL draws MuJoCo's pictures without a screen, where MUJOCO_GL=egl is set. Older KubeRay asks a pod for its health by wget.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends libegl1 libgl1 wget \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /opt/quiver
ARG TORCH_INDEX=""
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore

# PyTorch first and alone: it is most of the image, and changes least.
COPY constraints.txt ./
RUN pip install --no-deps ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} "$(grep '^torch==' constraints.txt)"

COPY pyproject.toml README.md LICENSE ./
COPY cluster/ cluster/
COPY envs/ envs/
COPY learners/ learners/
COPY replay/ replay/
RUN pip install --constraint constraints.txt '.[robotics,ogbench]'

# Nobody needs to be root. KubeRay's files in deploy/ name the same number.
RUN useradd --uid 1000 --create-home quiver
USER 1000
WORKDIR /home/quiver
COPY ray_config.yaml ./

# No Ray without a token: a head that is started by hand asks for one (`ray get-auth-token --generate`).
ENV RAY_AUTH_MODE=token PYTHONUNBUFFERED=1

CMD ["quiver", "--help"]
