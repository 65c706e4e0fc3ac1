//! What `doctor` looks at besides devices: key, enrolment, verifier, power meters, the running agent.

use super::control::{Ask, ControlError, Request, ask};
use crate::clock::Clock;
use crate::config::Config;
use crate::delivery::{self, Exchange, LinkError};
use crate::doctor::{Check, Health};
use crate::enrolment::{Enrolment, EnrolmentError};
use crate::keys::{Lifetime, NodeKey};
use crate::meters;
use crate::sentence::Sentence;
use crate::state::StateDir;
use std::path::Path;
use std::sync::Arc;
use weighbridge::crypto::Entropy;
use weighbridge::time::{DAY_SECONDS, UnixSeconds};

/// Looks.
pub async fn checkup(config: &Config, clock: &Arc<dyn Clock>) -> Vec<Check> {
    let state = StateDir::at(&config.state_dir);
    let mut checks = Vec::new();
    let entropy = Entropy::system();
    let enrolment = Enrolment::load(&state.enrolment());
    let key = match &enrolment {
        Ok(Some(enrolment)) => enrolment.node_key(&state.key(), &entropy).map(Some),
        _ => NodeKey::load(&state.key(), &entropy).map_err(EnrolmentError::from),
    };
    match &key {
        Ok(Some(_)) => checks.push(held_in_a_file(Path::new("/dev"))),
        Ok(None) => {}
        Err(e) => checks.push(wrong("key", &Sentence(e).to_string())),
    }
    match (enrolment, key) {
        (Err(e), _) => checks.push(wrong("enrolment", &Sentence(&e).to_string())),
        (Ok(None), _) => checks.push(wrong(
            "enrolment",
            "none: run `weighbridge-agent enrol TOKEN` with a token of the verifier's",
        )),
        (Ok(Some(enrolment)), Ok(Some(key))) => {
            checks.extend(certificate(&enrolment, clock.wall_now()));
            checks.push(verifier(config, &enrolment, &key, clock.as_ref()).await);
        }
        (Ok(Some(_)), _) => {}
    }
    checks.extend(meters::look(&config.meters, clock).await);
    checks.push(match ask(&state.control(), &Request::plain(Ask::Status)) {
        Ok(answer) => {
            let said = answer.text.unwrap_or_default();
            let health = if said == "reporting" {
                Health::Ok
            } else {
                Health::Advice
            };
            Check::new("agent", health, said)
        }
        Err(ControlError::NotRunning) => Check::new(
            "agent",
            Health::Advice,
            "does not run: `systemctl start weighbridge-agent`",
        ),
        Err(e) => Check::new("agent", Health::Advice, Sentence(&e).to_string()),
    });
    checks
}

fn wrong(subject: &str, finding: &str) -> Check {
    Check::new(subject, Health::Wrong, finding)
}

fn held_in_a_file(dev: &Path) -> Check {
    if dev.join("tpmrm0").exists() {
        Check::new(
            "key",
            Health::Advice,
            "in a file, though this host has a TPM: every report says so",
        )
    } else {
        Check::new("key", Health::Ok, "in a file, readable by the agent alone")
    }
}

fn certificate(enrolment: &Enrolment, now: UnixSeconds) -> Option<Check> {
    let life = match Lifetime::of(&enrolment.certificate.0) {
        Ok(life) => life,
        Err(e) => return Some(wrong("certificate", &Sentence(&e).to_string())),
    };
    let days = life.not_after.since(now).checked_div(DAY_SECONDS).unwrap_or(0);
    if now < life.not_before {
        let text = format!("holds from {} only: is this host's clock right?", life.not_before);
        return Some(wrong("certificate", &text));
    }
    life.wants_renewal(now).then(|| {
        let text = format!("{days} days left; the running agent renews it by itself");
        Check::new("certificate", Health::Advice, text)
    })
}

async fn verifier(config: &Config, enrolment: &Enrolment, key: &NodeKey, clock: &dyn Clock) -> Check {
    const SUBJECT: &str = "verifier";
    let url = &enrolment.url;
    let line = match delivery::link(enrolment, key, config.proxy.as_ref()) {
        Ok(line) => line,
        Err(e) => return wrong(SUBJECT, &Sentence(&e).to_string()),
    };
    let before = clock.boot_now();
    let answer = line.head(None).await;
    let ms = clock.boot_now().since(before).checked_div(1_000_000).unwrap_or(0);
    match answer {
        Ok(_) => Check::new(SUBJECT, Health::Ok, format!("{url} reached in {ms} ms, TLS 1.3")),
        Err(LinkError::Refused(refusal)) => {
            let said = refusal.peek().map(|r| r.sentence).unwrap_or_default();
            wrong(
                SUBJECT,
                &format!("{url} reached in {ms} ms, but it takes no reports of this node: {said}"),
            )
        }
        Err(e) => wrong(SUBJECT, &format!("{url}: {}", Sentence(&e))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;
    use crate::config::Settings;
    use crate::state::create_private;
    use std::os::unix::fs::PermissionsExt;
    use weighbridge::cbor::Bytes;
    use weighbridge::id::{NodeId, VerifierId};

    async fn wrongs(state_dir: &Path) -> Vec<(String, String)> {
        let settings = Settings {
            state_dir: Some(state_dir.to_owned()),
            ..Settings::default()
        };
        let config = Config::resolve(settings, None).unwrap();
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let checks = checkup(&config, &clock).await;
        let wrong = checks.into_iter().filter(|c| c.health == Health::Wrong);
        wrong.map(|c| (c.subject, c.finding)).collect()
    }

    #[tokio::test]
    async fn a_node_that_is_not_enrolled_is_not_well_and_nothing_is_made_by_looking() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("state");
        let found = wrongs(&state).await;
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].0 == "enrolment" && found[0].1.contains("enrol TOKEN"));
        assert!(!state.exists());
    }

    #[tokio::test]
    async fn a_key_that_others_may_read_is_not_called_gone() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::open(dir.path()).unwrap();
        let enrolment = Enrolment {
            url: "https://v.example:8443".to_owned(),
            verifier: VerifierId([0; 32]),
            node: NodeId([1; 17]),
            certificate: Bytes(Vec::new()),
            ca: Bytes(Vec::new()),
            ledger_origin: "weighbridge/test".to_owned(),
            ledger_key: Bytes(Vec::new()),
            renewal_asked_at: UnixSeconds(0),
        };
        enrolment.store(&state.enrolment()).unwrap();
        assert!(
            wrongs(dir.path()).await[0]
                .1
                .contains("its key is not in the state directory")
        );
        create_private(&state.key(), b"a key").unwrap();
        std::fs::set_permissions(state.key(), PermissionsExt::from_mode(0o644)).unwrap();
        let found = wrongs(dir.path()).await;
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(
            found[0].0 == "key" && found[0].1.contains("chmod 600"),
            "{found:?}"
        );
    }
}
