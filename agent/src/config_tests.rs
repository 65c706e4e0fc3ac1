use super::*;

fn parse(text: &str) -> Result<Settings, ConfigError> {
    Settings::parse(text, Path::new("agent.toml"))
}

#[test]
fn every_mistake_is_named_with_its_line_its_cause_and_the_nearest_word() {
    let said = parse("stat_dir = \"x\"\nallow_trial = 1\nnvml = \"y\"")
        .unwrap_err()
        .to_string();
    assert_eq!(
        said,
        "the configuration agent.toml is wrong: line 1: `stat_dir` is not a key: did you mean `state_dir`?; \
         line 2: `allow_trial` must be true or false, and is an integer; \
         line 3: `nvml` is not a key: did you mean `nvml_path`?"
    );
    let said = parse("state_dir = \"x\"\nproxy = \"").unwrap_err().to_string();
    assert!(said.contains("line 2: ") && !said.contains('\n'), "{said}");
}

#[test]
fn every_setting_is_a_key_of_the_file_and_the_packaged_file_shows_it() {
    let packaged = include_str!("../../packaging/agent.toml");
    let known = variables();
    assert_eq!(known.len(), 19);
    for name in known {
        let key = name.strip_prefix(PREFIX).unwrap().to_lowercase();
        if key == "config" {
            continue;
        }
        let said = parse(&format!("{key} = 2020-01-01")).unwrap_err().to_string();
        assert!(said.contains(&format!("line 1: `{key}` must be")), "{said}");
        assert!(
            packaged.contains(&format!("# {key} = ")),
            "{key} is missing in packaging/agent.toml"
        );
    }
    assert_eq!(parse(packaged).unwrap(), Settings::default());
    let shown: Vec<_> = packaged
        .lines()
        .filter_map(|l| l.strip_prefix("# "))
        .filter(|l| l.contains(" = ") || l.starts_with("[["))
        .collect();
    let shown = shown
        .into_iter()
        .filter(|l| !l.contains("`"))
        .collect::<Vec<_>>()
        .join("\n");
    parse(&shown).unwrap();
}

#[test]
fn a_flag_stands_above_the_file_and_the_file_above_the_default() {
    let file = parse("state_dir = \"/a\"\nspool_max_mib = 64").unwrap();
    let flags = Settings {
        state_dir: Some("/b".into()),
        ..Settings::default()
    };
    let config = Config::resolve(flags.over(file), None).unwrap();
    assert_eq!(config.state_dir, Path::new("/b"));
    assert_eq!(config.spool_max_bytes, 64 << 20);
    assert_eq!(config.report_seconds_max, 900);
    assert_eq!(config.evidence_period_h, 24);
}

#[test]
fn bounds_are_named() {
    let said = Config::resolve(parse("report_seconds_max = 30").unwrap(), None)
        .unwrap_err()
        .to_string();
    assert!(said.contains("report_seconds") && said.contains("30"), "{said}");
    let said = Config::resolve(parse("evidence_period_h = 8761").unwrap(), None)
        .unwrap_err()
        .to_string();
    assert!(
        said.contains("evidence_period_h") && said.contains("8760"),
        "{said}"
    );
}

#[test]
fn a_host_engine_elsewhere_is_refused_and_none_is_asked_unless_named() {
    let resolve = |text: &str| Config::resolve(parse(text).unwrap(), None);
    let none = resolve("").unwrap().supervisor().unwrap();
    assert_eq!(none.sampler.dcgm, None);
    let here = resolve("dcgm = \"unix:///run/dcgm/sock\"")
        .unwrap()
        .supervisor()
        .unwrap();
    assert_eq!(here.sampler.dcgm.as_deref(), Some("unix:///run/dcgm/sock"));
    let said = resolve("dcgm = \"10.0.0.7:5555\"").unwrap_err().to_string();
    assert!(
        said.contains("`dcgm`") && said.contains("10.0.0.7:5555") && said.contains("loopback"),
        "{said}"
    );
}

#[test]
fn a_proxy_is_named_without_its_credentials() {
    let said = |url: &str, except: &str| {
        let (url, except) = (url.to_owned(), except.to_owned());
        Proxy { url, except }.said()
    };
    assert_eq!(said("http://p:3128/", ""), " through the proxy http://p:3128");
    assert_eq!(said("u:p@w@p:3128", ""), " through the proxy http://p:3128");
    let exempt = said("https://u:w@p", "localhost");
    assert!(
        exempt.starts_with(" through the proxy https://p (or without it"),
        "{exempt}"
    );
}
