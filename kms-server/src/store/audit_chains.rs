//! One hash chain of audit records for each run of a node, with its newest signed head, which the writer moves by
//! compare-and-set.

use kms_client::{
    format::chain::{ChainHash, NodeKey, Predecessor, Signature, SignedHead},
    id::NodeId,
};
use uuid::Uuid;

use super::{
    Error, Tx,
    column::{to_array, to_i64, to_u64},
    tx::on,
};

/// A chain about to begin, with the head after its first batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewAuditChain {
    /// The node whose chain it is.
    pub node: NodeId,
    /// The chain it follows.
    pub predecessor: Option<Predecessor>,
    /// What verifies the node's signatures.
    pub public_key: NodeKey,
    /// The HSM's signature over that key.
    pub certification: Signature,
    /// Its head.
    pub head: SignedHead,
}

/// A chain as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditChain {
    /// Stands for the node in `audit_records`; later chains have higher numbers.
    pub number: u64,
    /// What it began with, and its newest head.
    pub chain: NewAuditChain,
    /// Whether its node ended it in order.
    pub closed: bool,
}

#[derive(sqlx::FromRow)]
struct Columns {
    number: i64,
    node: Uuid,
    predecessor: Option<Uuid>,
    predecessor_head: Option<Vec<u8>>,
    public_key: Vec<u8>,
    certification: Vec<u8>,
    head_sequence: i64,
    head_hash: Vec<u8>,
    head_signature: Vec<u8>,
    closed: bool,
}

/// A query for whole chains that ends as given.
macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT number, node, predecessor, predecessor_head, public_key, certification, head_sequence, head_hash, \
             head_signature, closed FROM audit_chains ",
            $rest
        )
    };
}

impl Tx<'_> {
    /// Begins a chain and answers its number.
    ///
    /// # Errors
    ///
    /// [`Error::AlreadyExists`] if the node has one, or another node took the number just now; else as every statement.
    pub async fn insert_chain(&mut self, chain: &NewAuditChain) -> Result<u64, Error> {
        const SQL: &str = "INSERT INTO audit_chains (number, node, predecessor, predecessor_head, public_key, \
                           certification, head_sequence, head_hash, head_signature, closed) \
                           SELECT COALESCE(MAX(number), 0) + 1, $1, $2, $3, $4, $5, $6, $7, $8, FALSE FROM audit_chains \
                           RETURNING number";
        let predecessor = chain.predecessor.map(|predecessor| predecessor.node.uuid());
        let predecessor_head = chain.predecessor.map(|predecessor| predecessor.head.as_bytes().to_vec());
        let number: i64 = on!(self, scalar SQL,
            chain.node.uuid(),
            predecessor,
            predecessor_head.as_deref(),
            chain.public_key.as_bytes().as_slice(),
            chain.certification.as_bytes().as_slice(),
            to_i64(chain.head.sequence)?,
            chain.head.hash.as_bytes().as_slice(),
            chain.head.signature.as_bytes().as_slice(),
        )?;
        to_u64("audit_chains.number", number)
    }

    /// Moves the head of a node's chain from `sequence` and `hash`. `false` if it was elsewhere or the chain is closed; then
    /// nothing happened.
    ///
    /// # Errors
    ///
    /// As every statement.
    pub async fn advance_chain(
        &mut self,
        node: NodeId,
        (sequence, hash): (u64, ChainHash),
        head: &SignedHead,
    ) -> Result<bool, Error> {
        const SQL: &str = "UPDATE audit_chains SET head_sequence = $1, head_hash = $2, head_signature = $3 \
                           WHERE node = $4 AND head_sequence = $5 AND head_hash = $6 AND NOT closed";
        let moved = on!(self, execute SQL,
            to_i64(head.sequence)?,
            head.hash.as_bytes().as_slice(),
            head.signature.as_bytes().as_slice(),
            node.uuid(),
            to_i64(sequence)?,
            hash.as_bytes().as_slice(),
        )?;
        Ok(moved == 1)
    }

    /// Ends a node's chain: it takes no more records. `false` if it has none or it is closed already.
    ///
    /// # Errors
    ///
    /// As every statement.
    pub async fn close_chain(&mut self, node: NodeId) -> Result<bool, Error> {
        const SQL: &str = "UPDATE audit_chains SET closed = TRUE WHERE node = $1 AND NOT closed";
        Ok(on!(self, execute SQL, node.uuid())? == 1)
    }

    /// The chain of this node.
    ///
    /// # Errors
    ///
    /// As every statement.
    pub async fn chain(&mut self, node: NodeId) -> Result<Option<AuditChain>, Error> {
        const SQL: &str = select!("WHERE node = $1");
        let row: Option<Columns> = on!(self, optional SQL, node.uuid())?;
        row.map(AuditChain::from_columns).transpose()
    }

    /// The chain that began last.
    ///
    /// # Errors
    ///
    /// As every statement.
    pub async fn newest_chain(&mut self) -> Result<Option<AuditChain>, Error> {
        const SQL: &str = select!("ORDER BY number DESC LIMIT 1");
        let row: Option<Columns> = on!(self, optional SQL)?;
        row.map(AuditChain::from_columns).transpose()
    }

    /// Every chain, in the order in which they began.
    ///
    /// # Errors
    ///
    /// As every statement.
    pub async fn chains(&mut self) -> Result<Vec<AuditChain>, Error> {
        const SQL: &str = select!("ORDER BY number");
        let rows: Vec<Columns> = on!(self, all SQL)?;
        rows.into_iter().map(AuditChain::from_columns).collect()
    }
}

impl AuditChain {
    fn from_columns(row: Columns) -> Result<Self, Error> {
        const PREDECESSOR_HEAD: &str = "audit_chains.predecessor_head";
        let predecessor = match (row.predecessor, row.predecessor_head) {
            (Some(node), Some(head)) => Some(Predecessor {
                node: NodeId::new(node),
                head: ChainHash::from_bytes(to_array(PREDECESSOR_HEAD, &head)?),
            }),
            (None, None) => None,
            (Some(_), None) | (None, Some(_)) => return Err(Error::Corrupt(PREDECESSOR_HEAD)),
        };
        let head = SignedHead {
            sequence: to_u64("audit_chains.head_sequence", row.head_sequence)?,
            hash: ChainHash::from_bytes(to_array("audit_chains.head_hash", &row.head_hash)?),
            signature: Signature::from_bytes(to_array("audit_chains.head_signature", &row.head_signature)?),
        };
        let chain = NewAuditChain {
            node: NodeId::new(row.node),
            predecessor,
            public_key: NodeKey::from_bytes(to_array("audit_chains.public_key", &row.public_key)?),
            certification: Signature::from_bytes(to_array("audit_chains.certification", &row.certification)?),
            head,
        };
        Ok(Self { number: to_u64("audit_chains.number", row.number)?, chain, closed: row.closed })
    }
}
