//! Trust: whose tokens and certificates say who a caller is.

use std::sync::Arc;

use aws_lc_rs::digest;
use axum::response::Response;
use kms_client::{
    id::{ClientCaId, IssuerId},
    wire::{
        principal::Fingerprint,
        trust::{
            AddClientCa, AddIssuer, ClientCa, ClientCaChanged, ClientCaList, Issuer, IssuerChanged, IssuerList, Jwks,
        },
    },
};
use rustls::pki_types::{CertificateDer, pem::PemObject as _};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    Api,
    error::Failure,
    exchange::Exchange,
    names::{incoming, outgoing, receipt, revision},
};
use crate::{
    authn::{check_authority, check_key_source},
    gate::{Answer, Released},
    model::{self, Error, JwksSource, Operation, Row, TrustState},
    service::Made,
};

pub(super) fn routes() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::default()
        .routes(routes!(add_issuer, list_issuers))
        .routes(routes!(remove_issuer))
        .routes(routes!(add_client_ca, list_client_cas))
        .routes(routes!(remove_client_ca))
}

/// Trusts an issuer of tokens.
#[utoipa::path(
    post, path = "/v1/trust/issuers", operation_id = "add_issuer", tag = "trust", request_body = AddIssuer,
    responses((status = 200, description = "The issuer and the receipt", body = IssuerChanged))
)]
async fn add_issuer(mut exchange: Exchange) -> Result<Response, Failure> {
    let AddIssuer { issuer: iss, audiences, jwks } = exchange.json().await?;
    let operation = Operation::AddIssuer {
        issuer: IssuerId::new(exchange.fresh()),
        iss: iss.as_str().to_owned(),
        audiences: audiences.iter().map(|audience| audience.as_str().to_owned()).collect(),
        jwks: jwks_in(jwks)?,
    };
    let changed = exchange.change(operation).await?;
    issuer_changed(&exchange, changed)
}

/// The trusted issuers of tokens.
#[utoipa::path(
    get, path = "/v1/trust/issuers", operation_id = "list_issuers", tag = "trust",
    responses((status = 200, description = "All trusted issuers, ordered by id", body = IssuerList))
)]
async fn list_issuers(exchange: Exchange) -> Result<Response, Failure> {
    let issuers = exchange.service().list_issuers(exchange.call()).await?;
    exchange.answer(issuers, |issuers, record| {
        let trusted = issuers.iter().filter(|issuer| issuer.state == TrustState::Trusted);
        Ok(IssuerList { issuers: trusted.map(|issuer| issuer_view(issuer)).collect::<Result<_, _>>()?, record })
    })
}

/// Trusts an issuer no longer.
#[utoipa::path(
    delete, path = "/v1/trust/issuers/{issuer}", operation_id = "remove_issuer", tag = "trust",
    params(("issuer" = IssuerId, Path, description = "Its id")),
    responses((status = 200, description = "The issuer as it was, and the receipt", body = IssuerChanged))
)]
async fn remove_issuer(mut exchange: Exchange) -> Result<Response, Failure> {
    let issuer = exchange.path("issuer").await?;
    let changed = exchange.change(Operation::RemoveIssuer { issuer }).await?;
    issuer_changed(&exchange, changed)
}

/// Trusts a certification authority of clients.
#[utoipa::path(
    post, path = "/v1/trust/client-cas", operation_id = "add_client_ca", tag = "trust", request_body = AddClientCa,
    responses((status = 200, description = "The authority and the receipt", body = ClientCaChanged))
)]
async fn add_client_ca(mut exchange: Exchange) -> Result<Response, Failure> {
    let AddClientCa { name, certificate_pem } = exchange.json().await?;
    check_authority(&certificate_pem)?;
    let client_ca = ClientCaId::new(exchange.fresh());
    let operation = Operation::AddClientCa { client_ca, name: incoming(&name)?, certificate_pem };
    let changed = exchange.change(operation).await?;
    client_ca_changed(&exchange, changed)
}

/// The trusted certification authorities of clients.
#[utoipa::path(
    get, path = "/v1/trust/client-cas", operation_id = "list_client_cas", tag = "trust",
    responses((status = 200, description = "All trusted authorities, ordered by id", body = ClientCaList))
)]
async fn list_client_cas(exchange: Exchange) -> Result<Response, Failure> {
    let authorities = exchange.service().list_client_cas(exchange.call()).await?;
    exchange.answer(authorities, |authorities, record| {
        let trusted = authorities.iter().filter(|authority| authority.state == TrustState::Trusted);
        let client_cas = trusted.map(|authority| client_ca_view(authority)).collect::<Result<_, _>>()?;
        Ok(ClientCaList { client_cas, record })
    })
}

/// Trusts a certification authority no longer.
#[utoipa::path(
    delete, path = "/v1/trust/client-cas/{client_ca}", operation_id = "remove_client_ca", tag = "trust",
    params(("client_ca" = ClientCaId, Path, description = "Its id")),
    responses((status = 200, description = "The authority as it was, and the receipt", body = ClientCaChanged))
)]
async fn remove_client_ca(mut exchange: Exchange) -> Result<Response, Failure> {
    let client_ca = exchange.path("client_ca").await?;
    let changed = exchange.change(Operation::RemoveClientCa { client_ca }).await?;
    client_ca_changed(&exchange, changed)
}

fn issuer_changed(exchange: &Exchange, changed: Released<Answer<Made>>) -> Result<Response, Failure> {
    exchange.changed(changed, |changed, record| {
        let issuer =
            changed.rows.iter().find_map(|row| if let Row::Issuer(issuer) = row { Some(issuer) } else { None });
        let issuer = issuer_view(issuer.ok_or_else(|| Error::internal("the change touched no issuer"))?)?;
        Ok(IssuerChanged { issuer, receipt: receipt(changed.receipt), record })
    })
}

fn client_ca_changed(exchange: &Exchange, changed: Released<Answer<Made>>) -> Result<Response, Failure> {
    exchange.changed(changed, |changed, record| {
        let authority = changed.rows.iter().find_map(|row| if let Row::ClientCa(ca) = row { Some(ca) } else { None });
        let client_ca = client_ca_view(authority.ok_or_else(|| Error::internal("the change touched no authority"))?)?;
        Ok(ClientCaChanged { client_ca, receipt: receipt(changed.receipt), record })
    })
}

fn jwks_in(jwks: Jwks) -> Result<JwksSource, Error> {
    let source = match jwks {
        Jwks::Inline { inline } => JwksSource::Inline(inline.to_string()),
        Jwks::Url { url, ca } => JwksSource::Url { url, ca_pem: ca },
    };
    check_key_source(&source)?;
    Ok(source)
}

fn jwks_out(source: &JwksSource) -> Result<Jwks, Error> {
    match source {
        JwksSource::Inline(set) => Ok(Jwks::Inline { inline: serde_json::from_str(set).map_err(Error::internal)? }),
        JwksSource::Url { url, ca_pem } => Ok(Jwks::Url { url: url.clone(), ca: ca_pem.clone() }),
    }
}

fn issuer_view(issuer: &model::Issuer) -> Result<Issuer, Error> {
    Ok(Issuer {
        id: issuer.id,
        issuer: outgoing(&issuer.issuer)?,
        audiences: issuer.audiences.iter().map(|audience| outgoing(audience)).collect::<Result<_, _>>()?,
        jwks: jwks_out(&issuer.jwks)?,
        created_at: issuer.created_at,
        revision: revision(issuer.revision),
    })
}

fn client_ca_view(authority: &model::ClientCa) -> Result<ClientCa, Error> {
    let der = CertificateDer::from_pem_slice(authority.certificate_pem.as_bytes()).map_err(Error::internal)?;
    let mut sha256 = [0; 32];
    sha256.copy_from_slice(digest::digest(&digest::SHA256, &der).as_ref());
    Ok(ClientCa {
        id: authority.id,
        name: outgoing(authority.name.as_str())?,
        certificate_pem: authority.certificate_pem.clone(),
        sha256: Fingerprint::new(sha256),
        created_at: authority.created_at,
        revision: revision(authority.revision),
    })
}
