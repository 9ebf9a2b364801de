# syntax=docker/dockerfile:1
# Serves models. `docker run -v $PWD/models:/models -p 8501:8501 IMAGE serve /models --host 0.0.0.0`, or on SageMaker
# without arguments: /opt/ml/model and the platform's variables say what to serve.

FROM python:3.11-slim AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
RUN python -m venv /venv
COPY requirements/serve.lock /source/requirements/
RUN /venv/bin/pip install --require-hashes -r /source/requirements/serve.lock
COPY pyproject.toml README.md LICENSE /source/
COPY src /source/src
RUN /venv/bin/pip install --no-deps /source

FROM python:3.11-slim
# The platform passes models and a port; several models can share one container.
LABEL com.amazonaws.sagemaker.capabilities.accept-bind-to-port=true \
      com.amazonaws.sagemaker.capabilities.multi-models=true
RUN useradd --create-home --uid 1000 recserve
COPY --from=build /venv /venv
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1 NUMBA_CACHE_DIR=/home/recserve/.cache/numba
USER recserve
WORKDIR /home/recserve
EXPOSE 8080 8501
STOPSIGNAL SIGTERM
ENTRYPOINT ["recserve"]
CMD ["serve"]
