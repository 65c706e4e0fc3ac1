//! Keys that were lost, and keys that took their place.

use super::site::LICENCE;
use super::*;
use crate::command::PATIENCE;
use crate::fleet::{Anchors, Licences, Looked, Statements};
use crate::licence::Loaded;
use crate::recorder::{Act, ActKind, KeyRole, Writer};
use crate::serve::LedgerLock;
use crate::store::{Batch, Change, StoreError};
use std::time::Duration;
use weighbridge::crypto::dsse;
use weighbridge::licence::PAYLOAD_TYPE;
use weighbridge::statement;

fn key() -> SecretKey {
    SecretKey::generate(Algorithm::Ed25519, &Entropy::system()).unwrap()
}

fn signed(text: &str, key: &SecretKey) -> String {
    dsse::sign(PAYLOAD_TYPE, text.as_bytes(), &[key]).unwrap()
}

fn serial(n: u64) -> String {
    LICENCE.replace("serial = 1", &format!("serial = {n}"))
}

/// The licence that counts, by its serial and how many are passed over.
async fn counting(session: &Session) -> (Option<u64>, Vec<String>) {
    let (_, all) = Licences::anchored(&*session.store, &session.config.state_dir)
        .await
        .unwrap();
    (all.counting.first().map(|l| l.licence.serial), all.passed_over)
}

#[tokio::test]
async fn what_was_filed_before_a_key_was_lost_counts_again_and_its_successor_goes_on() {
    let verifier = Verifier::start().await;
    let session = verifier.session().await;
    let (lost, new) = (key(), key());
    session.trust("supplier", lost.public_key()).await.unwrap();
    session.load_licence(&signed(&serial(3), &lost)).await.unwrap();
    verifier.clock.set(NOON.plus(100));
    // Whoever found the key raises the serial out of its owner's reach.
    session
        .load_licence(&signed(&serial(9_000), &lost))
        .await
        .unwrap();
    assert_eq!(counting(&session).await.0, Some(9_000));
    verifier.clock.set(NOON.plus(200));

    let mut out = Vec::new();
    session
        .revoke_key("supplier", Some(NOON.plus(50)), &mut out)
        .await
        .unwrap();
    let told = String::from_utf8(out).unwrap();
    assert!(
        told.contains("licence WB-1: serial 3 counts again, and no longer serial 9000"),
        "{told}"
    );
    let (counts, passed_over) = counting(&session).await;
    assert_eq!(counts, Some(3));
    assert!(
        passed_over[0].contains("signed with the key of supplier alone, which was revoked"),
        "{passed_over:?}"
    );
    let error = session
        .load_licence(&signed(&serial(4), &lost))
        .await
        .unwrap_err();
    assert!(error.to_string().contains("which was revoked"), "{error}");
    let error = session.trust("supplier", lost.public_key()).await.unwrap_err();
    assert!(error.to_string().contains("which is final"), "{error}");

    session.trust("supplier", new.public_key()).await.unwrap();
    session.load_licence(&signed(&serial(4), &new)).await.unwrap();
    assert_eq!(counting(&session).await.0, Some(4));
}

#[tokio::test]
async fn another_issuer_s_signature_under_the_same_licence_joins_the_first() {
    let verifier = Verifier::start().await;
    let session = verifier.session().await;
    let (first, second, stranger) = (key(), key(), key());
    session.trust("supplier", first.public_key()).await.unwrap();
    session.trust("counsel", second.public_key()).await.unwrap();
    let load = async |by: &[&dyn Signer]| {
        let envelope = dsse::sign(PAYLOAD_TYPE, serial(1).as_bytes(), by).unwrap();
        session.load_licence(&envelope).await
    };
    let leaves = async || session.store.ledger().await.unwrap().size;
    let issuers = async || {
        let anchors = Anchors::read(&session.config.state_dir).unwrap();
        let all = Licences::read(&*session.store, &anchors).await.unwrap();
        assert_eq!((all.counting.len(), all.passed_over.len()), (1, 0));
        (all.counting[0].issuers.clone(), all.counting[0].signed_by().1)
    };
    assert_eq!(load(&[&first]).await.unwrap().1, Loaded::New);
    assert_eq!(issuers().await, (vec!["supplier".to_owned()], 1));
    assert_eq!(load(&[&first]).await.unwrap().1, Loaded::Before);
    load(&[&stranger]).await.unwrap_err();
    // Alone or beside the first: the text is the same.
    let (joined, how) = load(&[&second]).await.unwrap();
    assert_eq!((joined.issuers.len(), how), (2, Loaded::Signatures));
    assert_eq!(issuers().await.1, 2);
    let before = leaves().await;
    for again in [&[&first as &dyn Signer, &second][..], &[&second]] {
        let (held, how) = load(again).await.unwrap();
        assert_eq!((held.issuers.len(), how), (2, Loaded::Before));
    }
    assert_eq!(leaves().await, before, "nothing was new");
    // It is the first's licence all the same: the second alone replaces nothing.
    session
        .load_licence(&signed(&serial(2), &second))
        .await
        .unwrap_err();
    session.load_licence(&signed(&serial(2), &first)).await.unwrap();
    assert_eq!(issuers().await.1, 1);
}

#[tokio::test]
async fn an_act_that_is_not_recorded_in_time_is_never_recorded() {
    let mut verifier = Verifier::start().await;
    verifier.stop().await;
    let session = verifier.session().await;
    let leaves = async || session.store.ledger().await.unwrap().size;
    let (before, mut act) = (leaves().await, Act::new(ActKind::Distrust, NOON));
    act.key = Some(key().public_key().id());
    // As if a verifier served that has its hands full.
    let lock = LedgerLock::take(&session.config.state_dir).unwrap().unwrap();
    let told = session.carry_out_or_withdraw(&act, Duration::ZERO).await;
    let told = told.unwrap_err().to_string();
    assert!(told.contains("nothing was recorded or changed"), "{told}");
    drop(lock);
    let mut writer = Writer::open(
        Arc::clone(&session.store),
        Arc::clone(&session.identity),
        Entropy::system(),
        verifier.clock(),
        Duration::ZERO,
        &session.config.state_dir,
        Box::new(|_| {}),
    )
    .await
    .unwrap();
    assert_eq!(writer.drain_acts().await.unwrap(), 0);
    assert_eq!(leaves().await, before);

    // Taken back while the writer had it in hand: it leaves no leaf, and what waits behind it is carried out.
    let queue = async || session.store.queue_act(cbor::encode(&act)).await.unwrap();
    let (first, second) = (queue().await, queue().await);
    let changes = vec![Change::Act {
        id: first,
        outcome: String::new(),
    }];
    assert!(session.store.withdraw_act(first).await.unwrap());
    let row = session.store.ledger().await.unwrap();
    let batch = Batch {
        before: (row.size, row.root),
        after: (row.size, row.root),
        entries: Vec::new(),
        tiles: Vec::new(),
        changes,
    };
    let error = session.store.commit(batch).await.unwrap_err();
    assert!(matches!(error, StoreError::Withdrawn), "{error}");
    assert_eq!(writer.drain_acts().await.unwrap(), 1);
    assert_eq!(leaves().await, before + 1);
    // What was recorded is not taken back.
    assert!(!session.store.withdraw_act(second).await.unwrap());
    session.carry_out_or_withdraw(&act, PATIENCE).await.unwrap();
    assert_eq!(leaves().await, before + 2);
}

#[tokio::test]
async fn a_key_is_rotated_with_all_that_it_may_sign_and_what_it_signed_stands() {
    let verifier = Verifier::start().await;
    let session = verifier.session().await;
    let (old, new, other) = (key(), key(), key());
    for role in [KeyRole::Licences, KeyRole::Catalogues] {
        session
            .trust_for(role, "supplier", old.public_key())
            .await
            .unwrap();
    }
    session.trust("other", other.public_key()).await.unwrap();
    session.load_licence(&signed(&serial(1), &old)).await.unwrap();
    let rotate = async |which: &str, key: &SecretKey| {
        let mut out = Vec::new();
        let done = session.rotate_key(which, key.public_key(), &mut out).await;
        done.map(|()| String::from_utf8(out).unwrap())
    };
    let error = rotate("supplier", &other).await.unwrap_err();
    assert!(error.to_string().contains("is that of other already"), "{error}");
    let error = rotate("nobody", &new).await.unwrap_err();
    assert!(
        error.to_string().contains("is neither the name nor the id"),
        "{error}"
    );
    verifier.clock.set(NOON.plus(10));
    let told = rotate("supplier", &new).await.unwrap();
    assert!(told.contains("of supplier for licences, catalogues"), "{told}");

    let anchors = Anchors::read(&session.config.state_dir).unwrap();
    assert_eq!(anchors.keys_for(KeyRole::Catalogues), [new.public_key().clone()]);
    let retired = anchors.revocation(&old.public_key().id()).unwrap();
    assert_eq!(retired.replaced_by, Some(new.public_key().id()));
    assert_eq!(counting(&session).await, (Some(1), Vec::new()));
    session.load_licence(&signed(&serial(2), &old)).await.unwrap_err();
    // The licence is still the supplier's: the new key replaces it, and nobody else's does.
    session
        .load_licence(&signed(&serial(2), &other))
        .await
        .unwrap_err();
    session.load_licence(&signed(&serial(2), &new)).await.unwrap();
    assert_eq!(counting(&session).await.0, Some(2));
}

#[tokio::test]
async fn a_signer_whom_a_licence_alone_names_is_revoked_and_not_rotated() {
    let verifier = Verifier::start().await;
    let session = verifier.session().await;
    let (supplier, operator) = (key(), key());
    session.trust("supplier", supplier.public_key()).await.unwrap();
    let spki = data_encoding::BASE64.encode(operator.public_key().spki());
    let hears = format!(
        "{LICENCE}\n[[signers]]\nname = \"Harbour Compute Pte. Ltd.\"\nrole = \"operator\"\nkey = \"{spki}\"\n"
    );
    session.load_licence(&signed(&hears, &supplier)).await.unwrap();
    let kind = statement::Kind::named("maintenance").unwrap();
    let draft = |id: &str| {
        let text = statement::template(kind).replace("id = \"2026-0001\"", &format!("id = \"{id}\""));
        let (payload, _) = statement::payload(&text).unwrap();
        dsse::sign(statement::PAYLOAD_TYPE, &payload, &[&operator]).unwrap()
    };
    session.load_statement(&draft("first")).await.unwrap();

    // Looked at again, it is not opened again; under other keys it is.
    let licences = async || {
        let anchors = Anchors::read(&session.config.state_dir).unwrap();
        Licences::read(&*session.store, &anchors).await.unwrap().counting
    };
    let looked = Looked::default();
    let look = async |licences: &[_]| {
        let all = Statements::read_again(&*session.store, licences, &looked).await;
        all.unwrap().heard
    };
    let now = licences().await;
    let (first, again) = (look(&now).await, look(&now).await);
    assert!(first.len() == 1 && Arc::ptr_eq(&first[0], &again[0]));
    let nobodys = look(&[]).await;
    assert!(nobodys.len() == 1 && nobodys[0].signers.is_empty());
    assert_eq!(look(&now).await[0].signers, [operator.public_key().id()]);

    let mut out = Vec::new();
    let error = session
        .rotate_key("Harbour Compute Pte. Ltd.", key().public_key(), &mut out)
        .await
        .unwrap_err();
    assert!(
        error.to_string().contains("only its issuer can put another"),
        "{error}"
    );
    let id = operator.public_key().id().to_string();
    session.revoke_key(&id, None, &mut out).await.unwrap();
    let error = session.load_statement(&draft("second")).await.unwrap_err();
    assert!(
        error
            .to_string()
            .contains("the key of Harbour Compute Pte. Ltd. was revoked by the checker from"),
        "{error}"
    );
    session.load_statement(&draft("first")).await.unwrap_err();
}
