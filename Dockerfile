# syntax=docker/dockerfile:1
FROM node:26-slim AS build
WORKDIR /build
COPY package.json package-lock.json .npmrc ./
RUN npm ci --ignore-scripts
COPY tsconfig.json tsconfig.build.json ./
COPY src ./src
RUN npm run build
RUN npm prune --omit=dev --ignore-scripts

FROM node:26-slim
ENV NODE_ENV=production \
    TOKEN_ORCHESTRATOR_HOST=0.0.0.0 \
    TOKEN_ORCHESTRATOR_DATA_DIR=/data
RUN install --directory --owner=1000 --group=1000 --mode=0700 /data
COPY --from=build /build/package.json /app/package.json
COPY --from=build /build/node_modules /app/node_modules
COPY --from=build /build/dist /app/dist
# By number, so that Kubernetes can see that it is not root's.
USER 1000:1000
VOLUME /data
EXPOSE 3000
ENTRYPOINT ["node", "/app/dist/cli/main.js"]
CMD ["serve"]
