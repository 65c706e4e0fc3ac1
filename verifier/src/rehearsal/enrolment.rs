//! Who is let in: tokens, certificates and TLS.

use super::*;
use crate::command::Format;
use crate::recorder::{Act, ActKind};
use crate::token::TokenCommand;
use weighbridge::ledger::LeafKind;

#[tokio::test]
async fn a_token_admits_as_many_as_it_says_and_a_repeat_is_the_same_node() {
    let mut verifier = Verifier::start().await;
    let token = verifier.token(1, false).await;
    let key = new_key();
    let node = enrol(&verifier, &token, Arc::clone(&key)).await.unwrap();
    assert_eq!(node.enrolled.state, EnrolmentState::Pending);
    let again = enrol(&verifier, &token, key).await.unwrap();
    assert_eq!(again.enrolled.node, node.enrolled.node);
    assert_eq!(
        enrol(&verifier, &token, new_key()).await.err(),
        Some(RefusalCode::Token)
    );
    let late = verifier.token(1, true).await;
    verifier.clock.set(NOON.plus(8 * 86_400));
    assert_eq!(
        enrol(&verifier, &late, new_key()).await.err(),
        Some(RefusalCode::Token)
    );

    let (first, one) = node.report(token.verifier, 1, None);
    assert_eq!(
        node.deliver(&verifier, first.clone()).await.unwrap_err(),
        RefusalCode::Node
    );
    verifier
        .session()
        .await
        .approve(node.enrolled.node)
        .await
        .unwrap();
    node.clone().receipted(&verifier, first, &one).await;
    verifier.stop().await;
}

#[tokio::test]
async fn a_token_that_could_admit_nobody_is_not_made() {
    let mut verifier = Verifier::start().await;
    let wanted = |expires| NewToken {
        site: "harbour-1".into(),
        count: 1,
        expires,
        serials: Vec::new(),
        approve: false,
    };
    let mut session = verifier.session().await;
    session.new_token(wanted(Some(NOON.plus(1)))).await.unwrap();
    let over = session.new_token(wanted(Some(NOON))).await.unwrap_err();
    assert!(over.to_string().contains("that time is over"), "{over}");
    session.config.url = "http://weighbridge.example:8443".to_owned();
    let plain = session.new_token(wanted(None)).await.unwrap_err();
    assert!(plain.to_string().contains("https://"), "{plain}");
    verifier.stop().await;
}

#[tokio::test]
async fn a_token_that_leaked_is_listed_without_its_secret_and_admits_nobody_once_it_is_revoked() {
    let mut verifier = Verifier::start().await;
    let token = verifier.token(9, true).await;
    let admitted = enrol(&verifier, &token, new_key()).await.unwrap();
    let session = verifier.session().await;
    let listed = async || {
        let mut out = Vec::new();
        let list = TokenCommand::List { format: Format::Json };
        session.token(list, &mut out).await.unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(!text.contains(&token.to_line()));
        serde_json::from_str::<serde_json::Value>(&text).unwrap()["tokens"][0].clone()
    };
    let row = listed().await;
    assert_eq!((&row["count"], &row["used"]), (&9.into(), &1.into()));
    assert_eq!(row["revoked"], serde_json::Value::Null);
    let unknown = session.revoke_token("0123456789abcdef").await.unwrap_err();
    assert!(unknown.to_string().contains("token list"), "{unknown}");

    session.revoke_token(row["id"].as_str().unwrap()).await.unwrap();
    assert_eq!(
        enrol(&verifier, &token, new_key()).await.err(),
        Some(RefusalCode::Token)
    );
    assert_eq!(listed().await["revoked"], NOON.to_string());
    let acts = session.store.entries(LeafKind::Act).await.unwrap();
    let last: Act = cbor::decode_strict(acts.last().unwrap().body.as_ref().unwrap()).unwrap();
    assert_eq!(last.kind, ActKind::RevokeToken);
    // Whom it had admitted stays.
    let (first, one) = admitted.report(token.verifier, 1, None);
    admitted.clone().receipted(&verifier, first, &one).await;
    verifier.stop().await;
}

#[tokio::test]
async fn a_certificate_is_renewed_after_it_expired_but_not_by_a_repeated_request() {
    let (mut verifier, mut node) = ready().await;
    let later = NOON.plus(31 * 86_400);
    verifier.clock.set(later);
    let signed = |at| {
        let renew = RenewRequest {
            verifier: node.enrolled.verifier,
            node: node.enrolled.node,
            csr: csr(&node.key),
            at,
        };
        cbor::encode(&SignedRequest::sign(&renew, &*node.key).unwrap())
    };
    let url = || format!("{}{PATH_RENEW}", verifier.url());
    let nobody = client(&verifier.clock, &node.enrolled.ca.0, None);
    // A clock that is sixty days fast does not lock the node out for sixty days.
    let fast = post::<RenewAnswer>(&nobody, url(), signed(later.plus(60 * 86_400))).await;
    assert_eq!(fast.unwrap_err(), RefusalCode::Form);
    let renewed: RenewAnswer = post(&nobody, url(), signed(later)).await.unwrap();
    assert_eq!(
        post::<RenewAnswer>(&nobody, url(), signed(later))
            .await
            .unwrap_err(),
        RefusalCode::Form
    );
    node.enrolled.certificate = renewed.certificate;
    let (first, one) = node.report(node.enrolled.verifier, 1, None);
    node.receipted(&verifier, first, &one).await;
    verifier.stop().await;
}

#[tokio::test]
async fn a_connection_of_tls_1_2_is_refused() {
    let (mut verifier, node) = ready().await;
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from(node.enrolled.ca.0.clone()))
        .unwrap();
    let old = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS12])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let client = Client::builder()
        .tls_backend_preconfigured(old)
        .no_proxy()
        .build()
        .unwrap();
    let error = client
        .get(format!("{}{PATH_HEAD}", verifier.url()))
        .send()
        .await
        .unwrap_err();
    assert!(
        crate::cause::with_causes(&error).contains("ProtocolVersion"),
        "{error:?}"
    );
    verifier.stop().await;
}
