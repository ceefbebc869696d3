# The gateway and the worker: one image, two commands.
FROM node:22-bookworm-slim AS build
WORKDIR /app
COPY package.json package-lock.json .npmrc ./
RUN npm ci
COPY . .
RUN npm run build && npm prune --omit=dev

# What speaks to registries; `--target oci` makes the image of the sidecar that hands models over.
FROM golang:1.26 AS oci-build
WORKDIR /oci
COPY oci/go.mod oci/go.sum ./
RUN go mod download
COPY oci ./
RUN CGO_ENABLED=0 go build -trimpath -ldflags="-s -w" -o /throughline-oci .

# What asks a buildkitd for builds.
FROM golang:1.26 AS buildkit-build
WORKDIR /buildkit
COPY buildkit/go.mod buildkit/go.sum ./
RUN go mod download
COPY buildkit ./
RUN CGO_ENABLED=0 go build -trimpath -ldflags="-s -w" -o /throughline-buildkit .

FROM scratch AS oci
COPY --from=oci-build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=oci-build /throughline-oci /throughline-oci
ENTRYPOINT ["/throughline-oci"]

FROM node:22-bookworm-slim
# git for repositories; ssh for those behind keys.
RUN apt-get update \
  && apt-get install -y --no-install-recommends ca-certificates git openssh-client \
  && rm -rf /var/lib/apt/lists/*
COPY --from=moby/buildkit:v0.34.2 /usr/bin/buildctl /usr/local/bin/
COPY --from=oci-build /throughline-oci /usr/local/bin/
COPY --from=buildkit-build /throughline-buildkit /usr/local/bin/
WORKDIR /app
COPY --from=build /app/package.json ./
COPY --from=build /app/node_modules ./node_modules
COPY --from=build /app/bin ./bin
COPY --from=build /app/dist ./dist
ENV NODE_ENV=production THROUGHLINE_DATA=/data
RUN mkdir /data && chown node:node /data
USER node
VOLUME /data
EXPOSE 8088 8089
ENTRYPOINT ["node", "bin/throughline.js"]
CMD ["gateway", "--listen", "0.0.0.0:8088"]
