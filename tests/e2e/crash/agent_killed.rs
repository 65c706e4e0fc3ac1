//! The agent is killed, and its node's power cut, at random moments. It comes back with the chain that it had.
//!
//! Two nodes go through it at the same time before one verifier, for most of the time is spent waiting for moments.

use super::chain::{assert_spool_agrees, assert_true_chain};
use super::{Books, KILLS, until};
use std::path::Path;
use std::process::{Command, Stdio};
use weighbridge_testbed::chance::Chance;
use weighbridge_testbed::licence::Terms;
use weighbridge_testbed::outage::Outage;
use weighbridge_testbed::process::{Agent, Verifier};

#[test]
fn an_agent_that_is_killed_goes_on_with_its_chain() {
    let dir = tempfile::tempdir().unwrap();
    let mut verifier = Verifier::init(dir.path());
    let terms = Terms {
        sites: vec!["killed".to_owned(), "dark".to_owned()],
        report_seconds: 1,
        ..Terms::at("killed")
    };
    verifier.load_licence(&terms.write(&[]));
    verifier.serve();
    let threads = [("killed", false), ("dark", true)].map(|(site, forgetful)| {
        let (books, token) = (Books::of(&verifier), verifier.token(site, &[]));
        let dir = dir.path().to_owned();
        std::thread::spawn(move || ordeal(&dir, &books, site, &token, forgetful))
    });
    for thread in threads {
        if let Err(panic) = thread.join() {
            std::panic::resume_unwind(panic);
        }
    }
    Books::of(&verifier).assert_no_refusal();
}

fn ordeal(dir: &Path, books: &Books, site: &str, token: &str, forgetful: bool) {
    let mut chance = Chance::new(site);
    let scenario = "profile = \"H100\"\ngpus = 2\ntrace = \"training\"\nstart_file = \"start\"\n";
    let mut agent = Agent::new(dir, site, scenario);
    agent.enrol(token);
    let disk = forgetful.then(|| Outage::over(&agent.state));
    if let Some(disk) = &disk {
        agent.put_over(disk);
    }
    let mut samplers = Vec::new();
    for _ in 0..KILLS {
        agent.run();
        match chance.within(0..10) {
            // As it starts, asks where the verifier stands, and sends what waits.
            0..5 => std::thread::sleep(chance.millis(50..700)),
            // About when it seals its first report.
            5..8 => std::thread::sleep(chance.millis(900..1900)),
            // After one arrived.
            _ => {
                let before = books.count(0, site);
                until("a report", || books.count(0, site) > before);
                std::thread::sleep(chance.millis(0..200));
            }
        }
        assert!(
            agent.process().alive(),
            "it ended by itself:\n{}",
            agent.process().log()
        );
        samplers.extend(agent.process().children());
        if disk.is_some() || chance.within(0..2) == 0 {
            agent.process().kill_with_children();
        }
        agent.kill();
        if let Some(disk) = &disk {
            disk.strike();
        }
    }
    // It goes on by itself.
    let before = books.count(0, site);
    agent.run();
    until("three more reports", || books.count(0, site) >= before + 3);
    agent.kill();
    let reports = books.reports(site);
    println!("{site}: {} reports", reports.len());
    assert_true_chain(&reports, KILLS + 1);
    assert_spool_agrees(&agent.state, &reports);
    until("the samplers of killed agents to end", || {
        samplers.retain(|pid| runs(*pid, &agent));
        samplers.is_empty()
    });
}

/// Whether a process still runs that was this agent's.
fn runs(pid: u32, agent: &Agent) -> bool {
    let same = std::fs::read(format!("/proc/{pid}/environ"))
        .is_ok_and(|e| String::from_utf8_lossy(&e).contains(agent.scenario.to_str().unwrap()));
    same && Command::new("kill")
        .args(["-0", &pid.to_string()])
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|s| s.success())
}
