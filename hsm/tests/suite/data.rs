//! Records on the token survive everything a crash can leave, and listings show what is there.

use cryptoki::object::{Attribute, ObjectClass as Class};
use hsm::ObjectClass;

use crate::harness::{new_id, random, run};

#[test]
fn a_record_survives_and_is_replaced() {
    run(async |token| {
        let label = format!("anchor {}", hex::encode(random::<8>()));
        assert_eq!(token.hsm.read_data(&label).await.unwrap(), None);
        for content in [&b"revision 1"[..], b"", b"revision 3"] {
            token.hsm.write_data(&label, content.to_vec()).await.unwrap();
            assert_eq!(token.hsm.read_data(&label).await.unwrap().as_deref(), Some(content));
            assert_eq!(token.open_again().read_data(&label).await.unwrap().as_deref(), Some(content));
        }
        let objects = token.hsm.objects().await.unwrap();
        assert_eq!(objects.iter().filter(|object| object.label == label).count(), 1);
        assert_eq!(token.hsm.read_data("another").await.unwrap(), None);
    });
}

#[test]
fn a_write_that_was_cut_off_leaves_the_newest_whole_record() {
    run(async |token| {
        let label = format!("anchor {}", hex::encode(random::<8>()));
        token.hsm.write_data(&label, b"old".to_vec()).await.unwrap();
        let session = token.raw();
        let mut template = vec![
            Attribute::Class(Class::DATA),
            Attribute::Label(label.clone().into_bytes()),
            Attribute::Application(b"keyward".to_vec()),
            Attribute::Private(true),
        ];
        let old = session.find_objects(&template).unwrap();
        let value = session.get_attributes(old[0], &[cryptoki::object::AttributeType::Value]).unwrap();

        // The old record comes back beside the new one: the crash was before it was destroyed.
        token.hsm.write_data(&label, b"new".to_vec()).await.unwrap();
        template.extend([Attribute::Token(true), value[0].clone()]);
        session.create_object(&template).unwrap();
        assert_eq!(token.hsm.read_data(&label).await.unwrap().unwrap(), b"new");

        // A torn one beside it counts for nothing, and the next write clears up.
        template.pop();
        template.push(Attribute::Value(b"torn".to_vec()));
        session.create_object(&template).unwrap();
        assert_eq!(token.hsm.read_data(&label).await.unwrap().unwrap(), b"new");
        token.hsm.write_data(&label, b"newest".to_vec()).await.unwrap();
        template.truncate(4);
        assert_eq!(session.find_objects(&template).unwrap().len(), 1);
        assert_eq!(token.hsm.read_data(&label).await.unwrap().unwrap(), b"newest");
    });
}

#[test]
fn a_listing_shows_every_object() {
    run(async |token| {
        let (key, signing) = (new_id(), new_id());
        token.hsm.create_key(key, "records v1").await.unwrap();
        token.hsm.create_signing_key(signing, "audit").await.unwrap();
        token.hsm.write_data("anchor", b"1".to_vec()).await.unwrap();
        let objects = token.hsm.objects().await.unwrap();
        let shows = |id, label: &str, class| {
            objects.iter().any(|object| object.id == id && object.label == label && object.class == class)
        };
        assert!(shows(Some(key), "records v1", ObjectClass::SecretKey));
        assert!(shows(Some(signing), "audit", ObjectClass::PrivateKey));
        assert!(shows(None, "anchor", ObjectClass::Data));
        if token.own {
            assert_eq!(objects.len(), 3, "{objects:?}");
        }
    });
}
