//! Evidence made for one verifier is shown to another.

use super::Stage;
use rustls::{AlertDescription, ClientConnection, StreamOwned};
use std::io::Read;
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;
use weighbridge::id::VerifierId;
use weighbridge::protocol::RefusalCode;
use weighbridge_testbed::node::client_tls;

#[tokio::test]
async fn a_report_for_another_verifier_is_refused_by_its_audience() {
    let stage = Stage::new();
    let mut node = stage.node().await;
    let honest = node.verifier;
    node.verifier = VerifierId([9; 32]);
    let (bytes, _) = node.seal();
    let refusal = node.deliver(bytes).await.refused();
    assert_eq!(refusal.code, RefusalCode::Audience);
    assert!(refusal.expected.contains(&honest.to_string()), "{refusal:?}");
}

#[tokio::test]
async fn a_node_of_one_verifier_is_a_stranger_to_another() {
    let (one, other) = (Stage::new(), Stage::new());
    let node = one.node().await;
    let tls = client_tls(Some((&node.certificate, &node.key)));
    let socket = TcpStream::connect(&other.verifier.listen).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let connection = ClientConnection::new(Arc::new(tls), "127.0.0.1".try_into().unwrap()).unwrap();
    // Nothing is sent beyond the handshake, so that what comes back is the answer to the certificate alone.
    let refused = StreamOwned::new(connection, socket).read(&mut [0]).unwrap_err();
    let alert = refused.get_ref().and_then(|e| e.downcast_ref::<rustls::Error>());
    assert_eq!(
        alert,
        Some(&rustls::Error::AlertReceived(AlertDescription::UnknownCA)),
        "{refused}"
    );
}
