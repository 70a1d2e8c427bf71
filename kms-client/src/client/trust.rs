//! Trust: issuers of tokens and certification authorities.

use super::{Client, error::Result};
use crate::{
    id::{ClientCaId, IssuerId},
    wire::trust::{AddClientCa, AddIssuer, ClientCaChanged, ClientCaList, IssuerChanged, IssuerList},
};

#[expect(clippy::missing_errors_doc, reason = "each fails when the server refuses or cannot be reached")]
impl Client {
    /// The trusted issuers.
    pub async fn list_issuers(&self) -> Result<IssuerList> {
        self.transport.get(&["trust", "issuers"]).await
    }

    /// Trusts an issuer.
    pub async fn add_issuer(&self, request: &AddIssuer) -> Result<IssuerChanged> {
        self.create(&["trust", "issuers"], request).await
    }

    /// Trusts an issuer no more.
    pub async fn remove_issuer(&self, issuer: IssuerId) -> Result<IssuerChanged> {
        self.delete(&["trust", "issuers", &issuer.to_string()]).await
    }

    /// The trusted certification authorities.
    pub async fn list_client_cas(&self) -> Result<ClientCaList> {
        self.transport.get(&["trust", "client-cas"]).await
    }

    /// Trusts a certification authority.
    pub async fn add_client_ca(&self, request: &AddClientCa) -> Result<ClientCaChanged> {
        self.create(&["trust", "client-cas"], request).await
    }

    /// Trusts a certification authority no more.
    pub async fn remove_client_ca(&self, client_ca: ClientCaId) -> Result<ClientCaChanged> {
        self.delete(&["trust", "client-cas", &client_ca.to_string()]).await
    }
}
