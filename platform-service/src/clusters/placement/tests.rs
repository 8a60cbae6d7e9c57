//! Each rule of placement alone, then the shares over many sign-ups.

use super::*;

fn cluster(name: &str) -> Candidate {
    Candidate {
        name: name.parse().unwrap(),
        region: "eu".to_owned(),
        status: ClusterStatus::Active,
        tiers: None,
        labels: BTreeMap::new(),
        weight: 1,
        databases: 0,
        max_databases: None,
        used_bytes: 0,
        max_disk_bytes: None,
        connections: None,
    }
}

fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
    pairs.iter().map(owned).collect()
}

fn needs<'a>(tier: &'a str, labels: &'a BTreeMap<String, String>) -> Needs<'a> {
    Needs {
        region: "eu",
        tier,
        labels,
        bytes: 0,
    }
}

fn placed(candidates: &[Candidate], tier: &str) -> Option<String> {
    let none = BTreeMap::new();
    place(candidates, needs(tier, &none)).map(|chosen| chosen.name.to_string())
}

#[test]
fn nothing_fits() {
    let full = Candidate {
        databases: 5,
        max_databases: Some(5),
        ..cluster("full")
    };
    let abroad = Candidate {
        region: "us".to_owned(),
        ..cluster("abroad")
    };
    let draining = Candidate {
        status: ClusterStatus::Draining,
        ..cluster("draining")
    };
    let kept = Candidate {
        tiers: Some(vec!["enterprise".to_owned()]),
        ..cluster("kept")
    };
    let closed = Candidate {
        status: ClusterStatus::Full,
        ..cluster("closed")
    };
    let all = [full, abroad, draining, kept, closed];
    let why = all
        .each_ref()
        .map(|candidate| candidate.judge(needs("standard", &BTreeMap::new())));
    let reasons = [
        Unfit::Databases,
        Unfit::Region,
        Unfit::Status,
        Unfit::Tier,
        Unfit::Status,
    ];
    assert_eq!(why, reasons.map(Err));
    assert_eq!(placed(&all, "standard"), None);
    assert_eq!(placed(&[], "standard"), None);
}

#[test]
fn a_cluster_kept_for_the_tier_comes_first() {
    let shared = cluster("shared");
    let kept = Candidate {
        tiers: Some(vec!["enterprise".to_owned()]),
        databases: 50,
        max_databases: Some(51),
        ..cluster("kept")
    };
    let both = [shared.clone(), kept.clone()];
    assert_eq!(placed(&both, "enterprise").as_deref(), Some("kept"));
    assert_eq!(placed(&both, "standard").as_deref(), Some("shared"));
    let full = Candidate {
        databases: 51,
        ..kept
    };
    assert_eq!(
        placed(&[shared, full], "enterprise").as_deref(),
        Some("shared")
    );
}

#[test]
fn equals_go_by_name() {
    assert_eq!(
        placed(&[cluster("b"), cluster("a")], "standard").as_deref(),
        Some("a")
    );
}

#[test]
fn tenants_spread_by_weight() {
    let heavy = Candidate {
        weight: 3,
        ..cluster("heavy")
    };
    let mut clusters = [cluster("light"), heavy];
    for _ in 0..400 {
        let name = placed(&clusters, "standard").unwrap();
        let chosen = clusters
            .iter_mut()
            .find(|c| c.name.as_str() == name)
            .unwrap();
        chosen.databases += 1;
    }
    assert_eq!(clusters.map(|cluster| cluster.databases), [100, 300]);
}

#[test]
fn labels_that_are_asked_for_must_be_there() {
    let plain = cluster("a");
    let fast = Candidate {
        labels: labels(&[("disk", "nvme"), ("rack", "7")]),
        ..cluster("b")
    };
    let candidates = [plain, fast];
    let chosen = |asked: &[(&str, &str)]| {
        let asked = labels(asked);
        place(&candidates, needs("standard", &asked)).map(|chosen| chosen.name.to_string())
    };
    assert_eq!(chosen(&[]).as_deref(), Some("a"));
    assert_eq!(chosen(&[("disk", "nvme")]).as_deref(), Some("b"));
    assert_eq!(chosen(&[("disk", "spinning")]), None);
    assert_eq!(chosen(&[("disk", "nvme"), ("row", "1")]), None);
}

#[test]
fn a_disk_keeps_a_reserve() {
    let nearly = Candidate {
        used_bytes: 899,
        max_disk_bytes: Some(1000),
        ..cluster("nearly")
    };
    let none = BTreeMap::new();
    let with = |bytes: u64| Needs {
        bytes,
        ..needs("standard", &none)
    };
    assert_eq!(nearly.judge(with(0)), Ok(()));
    assert_eq!(nearly.judge(with(1)), Err(Unfit::Disk));
    let unlimited = Candidate {
        max_disk_bytes: None,
        ..nearly
    };
    assert_eq!(unlimited.judge(with(u64::MAX)), Ok(()));
}

#[test]
fn a_server_with_few_connections_left_is_the_last_choice_and_not_full() {
    let with = |name: &str, used| Candidate {
        connections: Some(ServerConnections { all: 100, used }),
        ..cluster(name)
    };
    // The less loaded one has no connections to spare.
    let crowded = with("a-crowded", 90);
    let loaded = Candidate {
        databases: 500,
        ..with("loaded", 89)
    };
    let both = [crowded.clone(), loaded];
    assert_eq!(placed(&both, "standard").as_deref(), Some("loaded"));
    assert_eq!(
        placed(std::slice::from_ref(&crowded), "standard").as_deref(),
        Some("a-crowded")
    );
    // One that is kept for a tier goes first, all the same.
    let kept = Candidate {
        tiers: Some(vec!["premium".to_owned()]),
        ..crowded
    };
    let both = [kept, with("shared", 0)];
    assert_eq!(placed(&both, "premium").as_deref(), Some("a-crowded"));
}
