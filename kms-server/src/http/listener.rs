//! Accepting connections: TCP, TLS, HTTP/1.1, each within its limits of number and time.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::Router;
use hyper::{Request, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::ServerConfig;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
    time::timeout,
};
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt as _;

use super::{
    Limits,
    connection::{Guarded, Sections},
};
use crate::{authn::PeerCertificates, supervisor::Supervisor};

/// What a handler knows of its connection.
#[derive(Debug, Clone)]
pub struct Connection {
    /// Where it comes from.
    pub source: SocketAddr,
    /// The client's certificates, if it showed some.
    pub peer: Option<Arc<PeerCertificates>>,
    /// The sections that are open on it.
    pub sections: Sections,
}

/// Accepts connections on one address until the server stops.
#[derive(Debug)]
pub struct Listener {
    /// The socket.
    pub socket: TcpListener,
    /// How TLS is spoken; `None`: plain HTTP, for health and metrics on an address of their own.
    pub tls: Option<Arc<ServerConfig>>,
    /// What answers.
    pub routes: Router,
    /// The limits.
    pub limits: Limits,
    /// Runs the connections.
    pub supervisor: Supervisor,
}

impl Listener {
    /// Accepts until the server stops, then lets every connection finish the request it is on.
    pub async fn run(self) {
        let Self { socket, tls, routes, limits, supervisor } = self;
        let places = Arc::new(Semaphore::new(limits.connections));
        let acceptor = tls.map(TlsAcceptor::from);
        let (draining, drained) = watch::channel(());
        loop {
            let accepted = tokio::select! {
                accepted = socket.accept() => accepted,
                () = supervisor.stopping() => break,
            };
            let (stream, source) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Out of descriptors or memory: waiting a moment beats spinning.
                    tracing::warn!(error = &error as &dyn std::error::Error, "a connection could not be accepted");
                    #[expect(clippy::disallowed_methods, reason = "a pause, not a wait for an event")]
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    continue;
                }
            };
            let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
                metrics::counter!("keyward_connections_refused_total").increment(1);
                continue;
            };
            let (acceptor, routes, limits) = (acceptor.clone(), routes.clone(), limits.clone());
            let mut stop = drained.clone();
            let guard = supervisor.clone();
            supervisor.start_short("connection", async move {
                let stopping = async {
                    tokio::select! {
                        () = guard.stopping() => {}
                        _ = stop.changed() => {}
                    }
                };
                let served = if let Some(acceptor) = acceptor {
                    serve_tls(&acceptor, stream, source, routes, &limits, stopping).await
                } else {
                    let connection = Connection { source, peer: None, sections: Sections::default() };
                    serve_http(stream, connection, routes, &limits, stopping).await
                };
                if let Err(reason) = served {
                    tracing::debug!(source = %source, reason, "a connection ended early");
                }
                drop(place);
            });
        }
        drop(draining);
    }
}

async fn serve_tls(
    acceptor: &TlsAcceptor,
    stream: TcpStream,
    source: SocketAddr,
    routes: Router,
    limits: &Limits,
    stopping: impl Future<Output = ()>,
) -> Result<(), String> {
    // A failure only means that small answers may leave a little later.
    let _undelayed = stream.set_nodelay(true);
    let stream = timeout(limits.handshake, acceptor.accept(stream))
        .await
        .map_err(|_| "the TLS handshake took too long".to_owned())?
        .map_err(|error| {
            metrics::counter!("keyward_tls_handshakes_failed_total").increment(1);
            format!("the TLS handshake failed: {error}")
        })?;
    let peer = match stream.get_ref().1.peer_certificates() {
        Some(chain) => Some(Arc::new(PeerCertificates::parse(chain).map_err(|refused| format!("{refused:?}"))?)),
        None => None,
    };
    let connection = Connection { source, peer, sections: Sections::default() };
    serve_http(stream, connection, routes, limits, stopping).await
}

async fn serve_http<S>(
    stream: S,
    connection: Connection,
    routes: Router,
    limits: &Limits,
    stopping: impl Future<Output = ()>,
) -> Result<(), String>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let sections = connection.sections.clone();
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(connection.clone());
        routes.clone().oneshot(request)
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        // It runs from the end of the request before, so it bounds silent and half-open clients too.
        .header_read_timeout(limits.idle)
        // Four times what is taken: up to there the surface itself says what is wrong.
        .max_headers(limits.headers.saturating_mul(4))
        .max_buf_size(limits.header_bytes.saturating_mul(4))
        .serve_connection(TokioIo::new(Guarded::new(stream, sections.clone())), service);
    tokio::pin!(served, stopping);
    let result = tokio::select! {
        result = served.as_mut() => result,
        () = stopping => {
            served.as_mut().graceful_shutdown();
            served.await
        }
    };
    // The connection is gone, and with it every byte that had not left.
    sections.close();
    result.map_err(|error| error.to_string())
}
