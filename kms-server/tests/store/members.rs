//! Who is a member, what they agree on, and what they tell one another.

use jiff::Timestamp;
use kms_client::id::NodeId;
use kms_server::{
    model::Revision,
    store::{Agreement, Error, Hint, Member, MemberKind, Newest},
};

use super::{
    database::{TestDatabase, at},
    on_both,
};

on_both!(
    a_renewal_is_counted_and_answers_the_newest_change,
    a_member_is_expelled_only_as_it_was_seen,
    who_joins_moves_the_agreement,
    a_hint_is_heard_when_it_is_committed,
);

async fn a_renewal_is_counted_and_answers_the_newest_change(database: &TestDatabase) {
    let mut tx = database.store.begin().await.unwrap();
    assert_eq!(tx.renew(node(1), Revision(0)).await.unwrap(), None, "it is no member");
    tx.insert_member(&member(1)).await.unwrap();
    let nothing = Newest { revision: Revision(0), hash: [0; 32] };
    assert_eq!(tx.renew(node(1), Revision(0)).await.unwrap(), Some(nothing));
    let head = kms_server::store::Head { revision: Revision(7), hash: [7; 32], state_digest: [8; 32], mac: [9; 32] };
    assert!(tx.advance_head(Revision(0), &head).await.unwrap());
    let newest = Newest { revision: Revision(7), hash: [7; 32] };
    assert_eq!(tx.renew(node(1), Revision(5)).await.unwrap(), Some(newest));
    let renewed = Member { renewals: 2, revision: Revision(5), ..member(1) };
    assert_eq!(tx.members().await.unwrap(), [renewed]);
    assert!(matches!(tx.insert_member(&member(1)).await, Err(Error::AlreadyExists(_))));
}

async fn a_member_is_expelled_only_as_it_was_seen(database: &TestDatabase) {
    let mut tx = database.store.begin().await.unwrap();
    tx.insert_member(&member(1)).await.unwrap();
    tx.insert_member(&Member { kind: MemberKind::Host, ..member(2) }).await.unwrap();
    tx.renew(node(1), Revision(0)).await.unwrap();
    assert!(!tx.expel_member(&member(1)).await.unwrap(), "it has renewed since");
    assert!(!tx.expel_member(&Member { joining: 4, renewals: 1, ..member(1) }).await.unwrap(), "it has joined anew");
    assert!(tx.expel_member(&Member { renewals: 1, ..member(1) }).await.unwrap());
    assert_eq!(tx.renew(node(1), Revision(0)).await.unwrap(), None);
    assert!(tx.delete_member(node(2)).await.unwrap());
    assert!(!tx.delete_member(node(2)).await.unwrap());
    assert_eq!(tx.members().await.unwrap(), []);
}

async fn who_joins_moves_the_agreement(database: &TestDatabase) {
    let mut tx = database.store.begin().await.unwrap();
    assert_eq!(tx.agreement().await.unwrap(), None);
    assert!(tx.agree(0, "{}").await.unwrap());
    assert!(!tx.agree(0, "{1}").await.unwrap(), "another was first");
    assert!(tx.agree(1, "{2}").await.unwrap());
    assert!(!tx.agree(1, "{3}").await.unwrap());
    assert_eq!(tx.agreement().await.unwrap(), Some(Agreement { joins: 2, settings: "{2}".to_owned() }));
}

async fn a_hint_is_heard_when_it_is_committed(database: &TestDatabase) {
    if !database.store.is_shared() {
        return; // Nobody else has the file.
    }
    let apart = database.store.apart();
    let mut hints = apart.hints().await.unwrap();
    let mut lost = database.store.begin().await.unwrap();
    lost.hint(Hint::Change(Revision(1))).await.unwrap();
    lost.rollback().await.unwrap();
    for hint in [Hint::Change(Revision(2)), Hint::Applied, Hint::Gap] {
        let mut tx = database.store.begin().await.unwrap();
        tx.hint(hint).await.unwrap();
        let time = tx.time().await.unwrap().unwrap();
        assert!(time.duration_since(Timestamp::UNIX_EPOCH).as_hours() > 24 * 365 * 50, "{time}");
        tx.commit().await.unwrap();
        assert_eq!(hints.next().await.unwrap(), hint);
    }
    drop(hints);
    apart.close().await;
}

fn member(byte: u8) -> Member {
    Member {
        node: node(byte),
        kind: MemberKind::Server,
        address: "kms.example:7443".to_owned(),
        region: "eu-1".to_owned(),
        version: "1.2.3".to_owned(),
        joined_at: at(1),
        joining: 3,
        renewals: 0,
        revision: Revision(0),
    }
}

fn node(byte: u8) -> NodeId {
    NodeId::from_bytes([byte; 16])
}
