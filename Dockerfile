# The service without PostgreSQL; compose.yaml runs the two together.
FROM rust:1.95-slim-bookworm AS build
WORKDIR /src
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    SQLX_OFFLINE=true cargo build --locked --release --bin eventlogger \
    && cp target/release/eventlogger /usr/local/bin/eventlogger

FROM debian:bookworm-slim
RUN groupadd --system --gid 10001 eventlogger \
    && useradd --system --uid 10001 --gid eventlogger --home-dir /var/lib/eventlogger --no-create-home eventlogger \
    && install --directory --owner eventlogger --group eventlogger --mode 0700 /var/lib/eventlogger
COPY --from=build /usr/local/bin/eventlogger /usr/local/bin/eventlogger
USER 10001:10001
# Inside a container loopback would reach nobody; what is published outside is compose's or the operator's choice.
ENV EVENTLOGGER_DATA_DIR=/var/lib/eventlogger \
    EVENTLOGGER_SERVER__LISTEN=0.0.0.0:5000
VOLUME /var/lib/eventlogger
EXPOSE 5000
STOPSIGNAL SIGTERM
# The image has no curl; bash can ask by itself.
HEALTHCHECK --interval=5s --timeout=5s --start-period=60s --retries=3 \
    CMD ["bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/5000 && printf 'GET /health/ready HTTP/1.0\\r\\nHost: localhost\\r\\n\\r\\n' >&3 && read -r _ status _ <&3 && test \"$status\" = 200"]
ENTRYPOINT ["eventlogger"]
CMD ["serve"]
