# The page on a port, the project on a volume:
#   docker build -t labelrounds .
#   docker run -it -v "$PWD/project:/project" -p 8080:8080 labelrounds annotate --host 0.0.0.0 --port 8080
FROM python:3.12-slim
RUN apt-get update && apt-get install -y --no-install-recommends git && rm -rf /var/lib/apt/lists/*
WORKDIR /labelrounds
COPY . .
# the locked versions of what the commands need, without what only tests need; /project may belong to another user
RUN pip install --no-cache-dir --constraint requirements.lock . && git config --system --add safe.directory '*'
WORKDIR /project
VOLUME /project
EXPOSE 8080
ENTRYPOINT ["rounds"]
CMD ["status"]
