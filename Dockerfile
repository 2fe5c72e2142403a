# The page on a port, the project on a volume:
#   docker build -t labelrounds .
#   docker run -it -v "$PWD/project:/project" -p 8080:8080 labelrounds annotate --host 0.0.0.0 --port 8080
FROM python:3.12-slim
RUN apt-get update && apt-get install -y --no-install-recommends git && rm -rf /var/lib/apt/lists/*
WORKDIR /labelrounds
COPY requirements.lock ./
RUN pip install --no-cache-dir --requirement requirements.lock
COPY . .
RUN pip install --no-cache-dir --no-deps . && git config --system --add safe.directory /project
WORKDIR /project
VOLUME /project
EXPOSE 8080
ENTRYPOINT ["rounds"]
CMD ["status"]
