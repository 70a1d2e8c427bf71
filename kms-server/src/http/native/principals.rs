//! Users, services and contractors, and the credentials by which they prove who they are.

use std::sync::Arc;

use axum::response::Response;
use kms_client::{
    id::{CredentialId, PrincipalId},
    wire::{
        key::WithReason,
        name::PrincipalRef,
        principal::{
            CreatePrincipal, Credential, Principal, PrincipalAnswer, PrincipalChanged, PrincipalList, PrincipalQuery,
            Proof, UpdatePrincipal,
        },
    },
};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    Api, cursor,
    error::Failure,
    exchange::Exchange,
    names::{incoming, incoming_option, outgoing, outgoing_option, principal_id, receipt, revision},
};
use crate::{
    gate::{Answer, Released},
    model::{self, CredentialMatch, Error, NewCredential, Operation},
    service::{Made, PrincipalFilter},
};

pub(super) fn routes() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::default()
        .routes(routes!(create_principal, list_principals))
        .routes(routes!(describe_principal, update_principal))
        .routes(routes!(suspend_principal))
        .routes(routes!(reinstate_principal))
        .routes(routes!(add_credential))
        .routes(routes!(remove_credential))
}

/// Makes a principal known. It has no right and no credential yet.
#[utoipa::path(
    post, path = "/v1/principals", operation_id = "create_principal", tag = "principals", request_body = CreatePrincipal,
    responses((status = 200, description = "The principal and the receipt", body = PrincipalChanged))
)]
async fn create_principal(mut exchange: Exchange) -> Result<Response, Failure> {
    let request: CreatePrincipal = exchange.json().await?;
    let operation = Operation::CreatePrincipal {
        principal: PrincipalId::new(exchange.fresh()),
        name: incoming(&request.name)?,
        kind: request.kind,
        person: incoming_option(request.person.as_ref())?,
        environment: request.environment.into(),
        team: incoming_option(request.team.as_ref())?,
        description: incoming_option(request.description.as_ref())?.unwrap_or_default(),
    };
    let changed = exchange.change(operation).await?;
    answer(&exchange, changed)
}

/// A page of principals.
#[utoipa::path(
    get, path = "/v1/principals", operation_id = "list_principals", tag = "principals", params(PrincipalQuery),
    responses((status = 200, description = "A page of principals, ordered by id", body = PrincipalList))
)]
async fn list_principals(exchange: Exchange) -> Result<Response, Failure> {
    let mut query: PrincipalQuery = exchange.query()?;
    let (limit, cursor) = (cursor::limit(query.limit.take())?, query.cursor.take());
    let listing = exchange.listing("principals", &query)?;
    let after = listing.place(cursor.as_ref())?.map(PrincipalId::from_bytes);
    let filter = PrincipalFilter {
        kind: query.kind,
        state: query.state.map(Into::into),
        name: incoming_option(query.name.as_ref())?,
    };
    let page = exchange.service().list_principals(exchange.call(), &filter, after, cursor::length(limit)).await?;
    exchange.answer(page, |page, record| {
        let last = page.items.last().filter(|_| page.more);
        Ok(PrincipalList {
            next_cursor: last.map(|principal| listing.cursor(principal.id.as_bytes())).transpose()?,
            principals: page.items.iter().map(|principal| view(principal)).collect::<Result<_, _>>()?,
            record,
        })
    })
}

/// One principal.
#[utoipa::path(
    get, path = "/v1/principals/{principal}", operation_id = "describe_principal", tag = "principals",
    params(("principal" = PrincipalRef, Path, description = "Its id or name")),
    responses((status = 200, description = "The principal", body = PrincipalAnswer))
)]
async fn describe_principal(mut exchange: Exchange) -> Result<Response, Failure> {
    let id = named(&mut exchange).await?;
    let principal = exchange.service().describe_principal(exchange.call(), id).await?;
    exchange.tagged(principal, |principal, record| Ok(PrincipalAnswer { principal: view(&principal)?, record }))
}

/// Changes a principal's description or team.
#[utoipa::path(
    patch, path = "/v1/principals/{principal}", operation_id = "update_principal", tag = "principals",
    params(("principal" = PrincipalRef, Path, description = "Its id or name")), request_body = UpdatePrincipal,
    responses((status = 200, description = "The principal and the receipt", body = PrincipalChanged))
)]
async fn update_principal(mut exchange: Exchange) -> Result<Response, Failure> {
    let principal = named(&mut exchange).await?;
    let UpdatePrincipal { team, description } = exchange.json().await?;
    let (team, description) = (incoming_option(team.as_ref())?, incoming_option(description.as_ref())?);
    let operation = Operation::UpdatePrincipal { principal, team, description };
    let changed = exchange.change(operation).await?;
    answer(&exchange, changed)
}

/// Takes every right from a principal until it is reinstated.
#[utoipa::path(
    post, path = "/v1/principals/{principal}/suspend", operation_id = "suspend_principal", tag = "principals",
    params(("principal" = PrincipalRef, Path, description = "Its id or name")), request_body = WithReason,
    responses((status = 200, description = "The principal and the receipt", body = PrincipalChanged))
)]
async fn suspend_principal(mut exchange: Exchange) -> Result<Response, Failure> {
    let principal = named(&mut exchange).await?;
    let WithReason { reason } = exchange.json().await?;
    let operation = Operation::SuspendPrincipal { principal, reason: incoming(&reason)? };
    let changed = exchange.change(operation).await?;
    answer(&exchange, changed)
}

/// Lets a suspended principal act again.
#[utoipa::path(
    post, path = "/v1/principals/{principal}/reinstate", operation_id = "reinstate_principal", tag = "principals",
    params(("principal" = PrincipalRef, Path, description = "Its id or name")), request_body = WithReason,
    responses((status = 200, description = "The principal and the receipt", body = PrincipalChanged))
)]
async fn reinstate_principal(mut exchange: Exchange) -> Result<Response, Failure> {
    let principal = named(&mut exchange).await?;
    let WithReason { reason } = exchange.json().await?;
    let operation = Operation::ReinstatePrincipal { principal, reason: incoming(&reason)? };
    let changed = exchange.change(operation).await?;
    answer(&exchange, changed)
}

/// Gives a principal another way to prove who it is.
#[utoipa::path(
    post, path = "/v1/principals/{principal}/credentials", operation_id = "add_credential", tag = "principals",
    params(("principal" = PrincipalRef, Path, description = "Its id or name")), request_body = Proof,
    responses((status = 200, description = "The principal and the receipt", body = PrincipalChanged))
)]
async fn add_credential(mut exchange: Exchange) -> Result<Response, Failure> {
    let principal = named(&mut exchange).await?;
    let proof: Proof = exchange.json().await?;
    let credential = NewCredential { id: CredentialId::new(exchange.fresh()), matches: proof_in(proof) };
    let changed = exchange.change(Operation::AddCredential { principal, credential }).await?;
    answer(&exchange, changed)
}

/// Takes one of those ways away.
#[utoipa::path(
    delete, path = "/v1/principals/{principal}/credentials/{credential}", operation_id = "remove_credential",
    tag = "principals",
    params(
        ("principal" = PrincipalRef, Path, description = "Its id or name"),
        ("credential" = CredentialId, Path, description = "The credential's id"),
    ),
    responses((status = 200, description = "The principal and the receipt", body = PrincipalChanged))
)]
async fn remove_credential(mut exchange: Exchange) -> Result<Response, Failure> {
    let principal = named(&mut exchange).await?;
    let credential = exchange.path("credential").await?;
    let changed = exchange.change(Operation::RemoveCredential { principal, credential }).await?;
    answer(&exchange, changed)
}

async fn named(exchange: &mut Exchange) -> Result<PrincipalId, Error> {
    let principal: PrincipalRef = exchange.path("principal").await?;
    Ok(principal_id(&principal, &exchange.snapshot().state))
}

fn answer(exchange: &Exchange, changed: Released<Answer<Made>>) -> Result<Response, Failure> {
    exchange.changed(changed, |changed, record| {
        Ok(PrincipalChanged { principal: view(changed.principal()?)?, receipt: receipt(changed.receipt), record })
    })
}

fn view(principal: &model::Principal) -> Result<Principal, Error> {
    let in_use = principal.credentials.iter().filter(|credential| credential.removed_at.is_none());
    let credential = |credential: &model::Credential| {
        Ok::<_, Error>(Credential {
            id: credential.id,
            proof: proof_out(&credential.matches)?,
            created_at: credential.created_at,
        })
    };
    Ok(Principal {
        id: principal.id,
        name: outgoing(principal.name.as_str())?,
        kind: principal.kind,
        person: outgoing_option(principal.person.as_ref())?,
        environment: principal.environment.into(),
        team: outgoing_option(principal.team.as_ref())?,
        description: outgoing(principal.description.as_str())?,
        state: principal.state.into(),
        reason: outgoing_option(principal.reason.as_ref())?,
        credentials: in_use.map(credential).collect::<Result<_, _>>()?,
        created_at: principal.created_at,
        revision: revision(principal.revision),
    })
}

fn proof_in(proof: Proof) -> CredentialMatch {
    match proof {
        Proof::JwtSubject { issuer, subject } => {
            CredentialMatch::JwtSubject { issuer, subject: subject.as_str().to_owned() }
        }
        Proof::CertificateSan { san, client_ca } => CredentialMatch::CertificateSan { client_ca, san: san.to_string() },
        Proof::CertificateFingerprint { sha256 } => {
            CredentialMatch::CertificateFingerprint { sha256: sha256.to_string() }
        }
    }
}

fn proof_out(matches: &CredentialMatch) -> Result<Proof, Error> {
    Ok(match matches {
        CredentialMatch::JwtSubject { issuer, subject } => {
            Proof::JwtSubject { issuer: *issuer, subject: outgoing(subject)? }
        }
        CredentialMatch::CertificateSan { client_ca, san } => {
            Proof::CertificateSan { san: outgoing(san)?, client_ca: *client_ca }
        }
        CredentialMatch::CertificateFingerprint { sha256 } => {
            Proof::CertificateFingerprint { sha256: outgoing(sha256)? }
        }
    })
}

#[cfg(test)]
mod tests {
    use kms_client::{id::ClientCaId, wire::principal::Fingerprint};

    use super::*;

    #[test]
    fn a_proof_comes_back_as_it_came_in() {
        let proofs = [
            Proof::JwtSubject {
                issuer: kms_client::id::IssuerId::from_bytes([1; 16]),
                subject: "ada@example.org".parse().unwrap(),
            },
            Proof::CertificateSan {
                san: "uri:spiffe://example.org/storage".parse().unwrap(),
                client_ca: ClientCaId::from_bytes([2; 16]),
            },
            Proof::CertificateFingerprint { sha256: Fingerprint::new([0xab; 32]) },
        ];
        for proof in proofs {
            assert_eq!(proof_out(&proof_in(proof.clone())).unwrap(), proof);
        }
    }
}
