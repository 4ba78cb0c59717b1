# The demo, without a GPU:
#   docker build -t unets .
#   docker run --rm -v "$PWD/models:/unets/models" unets
FROM python:3.12-slim
RUN apt-get update \
    && apt-get install --yes --no-install-recommends git make \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /unets
ENV PATH="/unets/.venv/bin:$PATH"
COPY Makefile pyproject.toml requirements.txt README.md LICENSE ./
COPY src src
RUN make setup
COPY configs configs
COPY scripts scripts
CMD ["make", "demo"]
