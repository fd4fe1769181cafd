# One image for every part: `up --only gateway|web|worker|beat`, and `prepare` before them.
FROM python:3.11-slim

ENV PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /app

COPY requirements/base.txt requirements/base.txt
RUN pip install --require-hashes --no-deps --requirement requirements/base.txt

COPY manage.py CHANGELOG.md ./
COPY llmmesh llmmesh
COPY access access
COPY connections connections
COPY gateway gateway
COPY playground playground
COPY templates templates
COPY static static
RUN python -m compileall -q . \
    && useradd --system --uid 1000 --home-dir /data mesh \
    && install --directory --owner mesh --mode 700 /data

USER mesh
ENV MESH_DATA_DIR=/data MESH_HOST=0.0.0.0 PORT=8000
VOLUME /data
EXPOSE 8000
ENTRYPOINT ["python", "manage.py"]
CMD ["up"]
