//! OCSP replies.

use super::{Answer, Authority, SHA384_OID, Validity, der, responder, spki};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P384_SHA384_ASN1_SIGNING, EcdsaKeyPair};
use weighbridge::crypto::{sha1_name, sha384};
use weighbridge::time::{DAY_SECONDS, UnixSeconds};

/// An OCSP reply by a responder that `issuer` certified. What was revoked was revoked 31 days before the reply
/// begins to hold.
pub(super) fn reply(certificate: &[u8], issuer: &Authority, answers: &[(Answer, Validity)]) -> Vec<u8> {
    let responder = responder(issuer);
    let of = weighbridge::x509::Certificate::parse(certificate).unwrap();
    let by = weighbridge::x509::Certificate::parse(issuer.der()).unwrap();
    let id = [
        der(0x30, SHA384_OID),
        der(0x04, &sha384(by.subject())),
        der(0x04, &sha384(by.key().raw())),
        der(0x02, of.serial()),
    ];
    let single = |(answer, valid): &(Answer, Validity)| {
        let status = match answer {
            Answer::Good => der(0x80, &[]),
            Answer::Unknown => der(0x82, &[]),
            Answer::Revoked(reason) => der(
                0xa1,
                &[
                    time(valid.from.plus(-31 * DAY_SECONDS)),
                    der(0xa0, &der(0x0a, &[*reason])),
                ]
                .concat(),
            ),
        };
        let from = time(valid.from);
        let to = der(0xa0, &time(valid.to));
        der(0x30, &[der(0x30, &id.concat()), status, from, to].concat())
    };
    let produced = answers.iter().map(|(_, valid)| valid.from).min().unwrap();
    let singles: Vec<u8> = answers.iter().flat_map(single).collect();
    let data = der(
        0x30,
        &[
            der(0xa2, &der(0x04, &sha1_name(spki(&responder).raw()))),
            time(produced),
            der(0x30, &singles),
        ]
        .concat(),
    );
    let rng = SystemRandom::new();
    let pkcs8 = responder.key().serialize_der();
    let signing = EcdsaKeyPair::from_pkcs8(&ECDSA_P384_SHA384_ASN1_SIGNING, &pkcs8, &rng).unwrap();
    let signature = signing.sign(&rng, &data).unwrap();
    let ecdsa = [
        0x30, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x03,
    ];
    let basic = [
        data,
        ecdsa.to_vec(),
        der(0x03, &[&[0], signature.as_ref()].concat()),
        der(0xa0, &der(0x30, responder.der())),
    ];
    let typed = [
        der(0x06, &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x30, 0x01, 0x01]),
        der(0x04, &der(0x30, &basic.concat())),
    ];
    der(
        0x30,
        &[der(0x0a, &[0]), der(0xa0, &der(0x30, &typed.concat()))].concat(),
    )
}

/// A time as `GeneralizedTime`.
fn time(at: UnixSeconds) -> Vec<u8> {
    let digits: String = at.to_string().chars().filter(char::is_ascii_digit).collect();
    der(0x18, format!("{digits}Z").as_bytes())
}
