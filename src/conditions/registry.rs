//! Every condition: what it asks, what depends on it, where it comes from, and the function that decides it.
//!
//! Decides: nothing. `docs/conditions.md` is made from this table; a test holds it equal.

use super::capacity::{allocation, fabric, installed, performance};
use super::case::Case;
use super::finding::{Severity, Verdict};
use super::inventory::{bus, identity, moves, place, sample, stock, supplied};
use super::records::{age, filed, operations};
use super::security::{chain, firmware, mode, platform};
use super::site::{approval, attestation, location, power};
use super::supply::{lots, parties};
use super::tenant::{holders, screening};
use super::training::{activity, compute, group, purpose};
use super::{contradiction, flags};
use crate::rules::Profile;

crate::code! {
    /// Whether a licence can do without a condition.
    pub enum Stage {
        /// It belongs to every licence.
        Core = 0 => "core",
        /// It adds to them.
        Further = 1 => "further",
    }
}

crate::code! {
    /// Whose word a condition can rest on.
    pub enum Basis {
        /// What reports and evidence measure.
        Measured = 0 => "measured",
        /// What a party declares.
        Declared = 1 => "declared",
        /// What an assessor finds.
        Assessed = 2 => "assessed",
    }
}

/// A condition: what it asks, what depends on it, where it comes from, and the function that decides it.
#[derive(Clone, Copy, Debug)]
pub struct Condition {
    /// Its id, stable for ever.
    pub id: &'static str,
    /// What it asks, in a sentence.
    pub title: &'static str,
    /// Whether it belongs to every licence.
    pub stage: Stage,
    /// What depends on it.
    pub severity: Severity,
    /// Whose word it can rest on.
    pub by: &'static [Basis],
    /// The profiles that it belongs to; none where it belongs to all. It is asked where the licence or the rule set names one of them, or the
    /// licence sets one of its limits.
    pub profiles: &'static [Profile],
    /// The limits that it looks at and few others do, by their names in a licence.
    pub limits: &'static [&'static str],
    /// Where it comes from.
    pub source: &'static str,
    /// The function that decides it.
    pub judge: fn(&Case<'_>) -> Verdict,
}

macro_rules! conditions {
    ($($id:literal $stage:ident $severity:ident by [$($by:ident),*] in [$($profile:ident),*] limits [$($limit:literal),*]
        => $judge:path: $title:literal; $source:literal,)*) => {
        /// Every published condition, in the order of the catalogue of conditions.
        pub const REGISTRY: &[Condition] = &[$(Condition {
            id: $id,
            title: $title,
            stage: Stage::$stage,
            severity: Severity::$severity,
            by: &[$(Basis::$by),*],
            profiles: &[$(Profile::$profile),*],
            limits: &[$($limit),*],
            source: $source,
            judge: $judge,
        }),*];

        /// The ids of all published conditions: a licence may waive any of them.
        pub const PUBLISHED: &[&str] = &[$($id),*];
    };
}

conditions! {
    "INV-01" Core Critical by [Measured] in [] limits [] => supplied::on_the_manifest:
        "Every accelerator reporting at the site is on the licensed manifest";
        "BIS diversion guidance of May 2025; Supp. 10 to 15 CFR part 748, paragraphs 4 and 10",
    "INV-02" Core Critical by [Measured, Assessed] in [] limits ["missing_after", "missing_escalates_after"] => supplied::seen_in_time:
        "Every device on the manifest is seen within the allowed silence";
        "BIS diversion guidance of May 2025; reporting duty of the Chip Security Act bill",
    "INV-03" Core Critical by [Measured] in [] limits ["clock_tolerance"] => place::in_one_place:
        "No device is seen at two sites or on two hosts at once";
        "BIS diversion guidance of May 2025; cases of swapped serial numbers, 2024 to 2026",
    "INV-04" Core Critical by [Measured, Declared] in [] limits ["transfer_notice"] => moves::recorded_before:
        "A device changes its site only under a transfer that was recorded before";
        "15 CFR 748.15; Supp. 10 to 15 CFR part 748, paragraph 5",
    "INV-05" Core Critical by [Measured, Assessed] in [] limits ["proof_max_age"] => identity::proven:
        "Identity is proven by a device-held key, not by strings";
        "BIS diversion guidance of May 2025; cases of dummy servers and moved serial labels, 2026",
    "INV-06" Core Major by [Measured] in [] limits ["memory_tolerance"] => supplied::identifiers_agree:
        "A device's identifiers agree with each other and with the catalogue";
        "NIST SP 800-53 CM-8, SR-11",
    "INV-07" Core Critical by [Assessed] in [] limits ["sample_confidence", "sample_defect_max", "assessment_max_age"] => sample::plates_match:
        "A sample of devices that was looked at on site matches the inventory";
        "BIS diversion guidance of May 2025; NIST SP 800-53 SR-10, SR-11",
    "INV-08" Further Major by [Measured] in [] limits ["performance_tolerance"] => sample::performs:
        "A device performs like the model that it claims to be";
        "91 FR 1684 (testing by a third party); cases of dummy servers, 2026",
    "INV-09" Further Major by [Declared, Assessed] in [] limits [] => stock::left_on_record:
        "A device leaves the manifest only with a record of its disposal, return or loss";
        "Supp. 10 to 15 CFR part 748, paragraph 17; NIST SP 800-53 MP-6, SR-12",
    "INV-10" Core Critical by [Measured, Assessed] in [] limits [] => bus::none_presumed:
        "No accelerator is present that is presumed to break the rules";
        "BIS guidance on General Prohibition 10, May 2025",
    "INV-11" Core Major by [Measured] in [] limits [] => bus::none_unmanaged:
        "No accelerator on a managed host stays unmanaged";
        "NIST SP 800-53 CM-8(3)",
    "INV-12" Core Critical by [Measured, Declared] in [] limits [] => stock::reconciled:
        "What was shipped, what the manifest lists and what is seen agree";
        "15 CFR part 762; Supp. 10 to 15 CFR part 748, paragraph 10",
    "CAP-01" Core Critical by [Measured] in [] limits [] => installed::tpp_within_licence:
        "The TPP of class 3A090.a at the site is within the licence";
        "licence term; Supp. 10 to 15 CFR part 748, paragraphs 6 and 10",
    "CAP-02" Core Critical by [Measured] in [] limits [] => installed::models_within_licence:
        "Only licensed models stand at the site, in licensed numbers";
        "licence term; 15 CFR 748.15",
    "CAP-03" Further Critical by [Measured, Declared] in [Ifr2025] limits ["consignee_tpp_per_year"] => allocation::received_in_year:
        "The TPP that one consignee receives in a calendar year stays within the low-power exception";
        "15 CFR 740.29",
    "CAP-04" Further Critical by [Measured] in [Ifr2025] limits ["country_share_max"] => allocation::share_of_country:
        "No one Tier 2 country holds more than its share of the owner's computing power";
        "Supp. 10 to 15 CFR part 748, paragraph 6",
    "CAP-05" Further Critical by [Measured] in [Ifr2025] limits ["outside_tier_1_max", "home_share_min"] => allocation::share_outside:
        "Enough of the owner's computing power stands in Tier 1, and at home";
        "Supp. 10 to 15 CFR part 748, paragraph 6",
    "CAP-06" Further Critical by [Measured] in [Ifr2025] limits ["country_tpp_max"] => allocation::cap_of_quarter:
        "The TPP installed in the country is within the cap of the quarter";
        "15 CFR 748.15, table of national validated end users",
    "CAP-07" Further Critical by [Measured] in [CnH2002026] limits ["device_tpp_below", "device_bandwidth_below"] => performance::below_lines:
        "Each device stays below the lines for its TPP and its memory bandwidth";
        "15 CFR 742.6(b)(10)(iii)(A)(1); 91 FR 1684",
    "CAP-08" Further Major by [Measured] in [] limits ["performance_tolerance"] => performance::not_altered:
        "No device is altered to do more than its model";
        "NIST SP 800-53 SI-7; 3A090 Note 2 on the theoretical peak",
    "CAP-09" Further Major by [Measured] in [] limits ["domain_devices_max"] => fabric::domain_within:
        "No more devices are joined into one scale-up domain than the licence allows";
        "licence term; 15 CFR 744.23",
    "LOC-01" Core Critical by [Declared, Assessed] in [] limits [] => location::licensed_country:
        "The site lies in a licensed country, and not in country group D:5 or Macau";
        "15 CFR 742.6(a)(6)(iii)",
    "LOC-02" Core Critical by [Measured] in [] limits ["landmarks_min"] => location::delays_agree:
        "Delay measurements do not contradict the declared place";
        "location verification of the Chip Security Act bill",
    "LOC-03" Further Major by [Measured] in [] limits [] => location::anchors_answer:
        "What anchors the hosts in their place is as it was at enrolment";
        "NIST SP 800-53 IA-3, PE-3",
    "LOC-04" Further Major by [Measured] in [ChipSecurityAct] limits ["location_max_age"] => location::checked_lately:
        "The place of every covered device was checked lately";
        "Chip Security Act bill (H.R. 3447, S. 1705)",
    "TRN-01" Core PassOnly by [Measured] in [] limits ["ops_limit", "ops_window"] => compute::capacity_bound:
        "The site cannot reach the operation limit within the window at all";
        "ECCN 4E091; arithmetic",
    "TRN-02" Core Critical by [Measured] in [] limits ["ops_limit", "ops_window"] => group::operations_within:
        "No group of devices that compute together reaches the operation limit within the window";
        "ECCN 4E091, Note 2; Supp. 10 to 15 CFR part 748, paragraph 7",
    "TRN-03" Further Major by [Measured] in [] limits [] => activity::share_of_training:
        "Training keeps to its share of device time";
        "licence term",
    "TRN-04" Further Major by [Measured] in [] limits [] => compute::allowance:
        "Training stays within its allowance of TPP-hours";
        "licence term",
    "TRN-05" Core Major by [Measured, Declared] in [] limits ["declared_group_devices", "declared_group_after"] => purpose::declared:
        "A large group that trains has a tenant's declaration";
        "BIS policy statement of May 2025; 89 FR 5698 (15 CFR 7.308 as proposed)",
    "TRN-06" Further Critical by [Measured, Declared] in [] limits [] => purpose::for_no_barred_party:
        "Nobody trains here for a party with headquarters in country group D:5 or Macau";
        "BIS policy statement of May 2025; 15 CFR 744.6, 744.22, 744.23",
    "TRN-07" Core Major by [Measured] in [] limits ["activity_tolerance", "idle_power_max"] => activity::as_declared:
        "Declared and measured activity agree";
        "NIST SP 800-53 CA-7; trust between operator and supplier",
    "TRN-08" Further Major by [Measured, Declared] in [Ifr2025] limits ["fine_tuning_share_max", "fine_tuning_ops_max"] => purpose::fine_tuning_within:
        "Fine-tuning outside Tier 1 stays below its share of the original operations";
        "ECCN 4E091, Note on exclusions; Supp. 10 to 15 CFR part 748, paragraph 7",
    "TRN-09" Further Major by [Declared, Assessed] in [Ifr2025] limits [] => purpose::weights_held:
        "Weights that ECCN 4E091 covers are held on approved systems only";
        "Supp. 10 to 15 CFR part 748, paragraphs 8 and 15",
    "TEN-01" Core Critical by [Measured, Declared] in [] limits ["kyc_max_age"] => holders::attested:
        "Every tenant with device time has a current attestation of who it is";
        "Supp. 3 to 15 CFR part 732; 89 FR 5698",
    "TEN-02" Core Critical by [Measured, Declared] in [] limits ["control_share_min"] => holders::outside_barred:
        "No tenant has its headquarters or ultimate parent in country group D:5 or Macau without a licence";
        "15 CFR 742.6(a)(6)(iii)(A); BIS guidance of 31 May 2026",
    "TEN-03" Further Critical by [Declared] in [] limits ["screening_max_age", "control_share_min"] => screening::screened:
        "Tenants, owners and addresses were screened lately against the lists of barred parties";
        "15 CFR 744.16, 744.21; Supp. 8 to 15 CFR part 748",
    "TEN-04" Core Critical by [Measured, Declared] in [] limits [] => parties::end_use_certified:
        "The consignee undertook to transfer nothing to barred places and to serve no military end";
        "BIS diversion guidance of May 2025; 15 CFR 744.21, 744.22",
    "TEN-05" Further Major by [Declared, Measured] in [CnH2002026, RemoteAccess] limits [] => holders::reached_from_allowed:
        "Devices are reached from allowed places only";
        "91 FR 1684; Remote Access Security Act bill (H.R. 2683, S. 3519)",
    "TEN-06" Further Major by [Measured] in [] limits ["attribution_min"] => holders::time_attributed:
        "Device time is attributed to tenants";
        "NIST SP 800-53 AU-10, AC-2",
    "TEN-07" Further Major by [Declared] in [IaasKyc] limits [] => holders::resellers_bound:
        "Resellers are bound to the same checks";
        "89 FR 5698 (15 CFR 7.302 as proposed)",
    "SEC-01" Core Critical by [Measured] in [] limits ["proof_max_age"] => firmware::as_published:
        "GPU firmware, VBIOS and driver measurements match the maker's reference values";
        "NIST SP 800-53 SI-7, SI-7(1), SR-4",
    "SEC-02" Further Critical by [Measured] in [] limits ["proof_max_age"] => mode::as_licensed:
        "Debug and developer modes are off, and confidential mode is as the licence says";
        "NIST SP 800-53 SC-3, SI-7",
    "SEC-03" Further Major by [Measured] in [] limits [] => platform::boot_state:
        "Hosts boot as the policy says";
        "NIST SP 800-53 SI-7, CM-14",
    "SEC-04" Core Critical by [Measured] in [] limits ["key_protection_min"] => chain::key_protected:
        "Reports are signed by an unrevoked key that hardware holds";
        "NIST SP 800-53 IA-3, SC-12, AU-10",
    "SEC-05" Further Major by [Measured] in [] limits [] => platform::agent_build:
        "The agents run approved builds";
        "NIST SP 800-53 SI-7(15), SR-11",
    "SEC-06" Core Critical by [Measured] in [] limits [] => chain::chain_unbroken:
        "The chain of reports is unbroken";
        "NIST SP 800-53 AU-9(3), AU-10",
    "SEC-07" Core Major by [Measured, Declared] in [] limits ["assessment_max_age"] => attestation::cyber:
        "Evidence of the site's cyber security is current, against a standard that counts";
        "Supp. 10 to 15 CFR part 748, paragraph 14; NIST SP 800-53 CA-2",
    "SEC-08" Further Major by [Assessed] in [Ifr2025] limits [] => attestation::weights_protected:
        "Model weights and the interfaces to them are protected";
        "Supp. 10 to 15 CFR part 748, paragraph 15",
    "SEC-09" Core Major by [Measured] in [] limits [] => chain::library_genuine:
        "The NVML library loaded is the system's own or an approved one";
        "NIST SP 800-53 SI-7",
    "PHY-01" Core Critical by [Measured, Assessed] in [] limits ["assessment_max_age"] => attestation::physical:
        "The site's physical security was examined by an assessor whom the licence hears, lately";
        "BIS diversion guidance of May 2025; Supp. 10 to 15 CFR part 748, paragraph 14; NIST SP 800-53 PE",
    "PHY-02" Core Major by [Declared, Measured, Assessed] in [] limits ["power_reserve_min", "power_surplus_max"] => power::fits_fleet:
        "Power, cooling and space fit the fleet";
        "BIS diversion guidance of May 2025",
    "PHY-03" Further Major by [Measured, Assessed] in [] limits ["power_surplus_max"] => power::meters_agree:
        "Meters outside the devices and the devices themselves agree on power";
        "NIST SP 800-53 CA-7; cases of dummy servers, 2026",
    "PHY-04" Further Major by [Declared, Assessed] in [] limits ["assessment_max_age"] => attestation::deliveries:
        "Deliveries and transit are controlled";
        "Supp. 10 to 15 CFR part 748, paragraph 16; NIST SP 800-53 PE-16",
    "PER-01" Further Major by [Declared, Assessed] in [] limits ["assessment_max_age"] => attestation::personnel:
        "People with access are screened, trained and free of barred ties";
        "Supp. 10 to 15 CFR part 748, paragraphs 2 and 18; NIST SP 800-53 PS-3, PS-7",
    "PER-02" Further Major by [Measured] in [] limits [] => approval::two_people:
        "Enrolments and changes of the manifest are approved by two people";
        "NIST SP 800-53 AC-5, SR-9",
    "SUP-01" Core Critical by [Declared] in [] limits ["ownership_max_age", "ownership_notice"] => parties::owners_disclosed:
        "Ownership and control are disclosed, with no barred owner";
        "Supp. 10 to 15 CFR part 748, paragraph 13; BIS diversion guidance of May 2025",
    "SUP-02" Core Critical by [Measured, Declared] in [] limits [] => parties::authorised:
        "An authorisation is valid and covers consignee, site, items and date";
        "15 CFR 748.15; General Prohibition 10",
    "SUP-03" Further Major by [Declared] in [CnH2002026] limits [] => lots::lots_tested:
        "Each lot that was shipped has a certificate of an independent laboratory";
        "91 FR 1684",
    "EVI-01" Core Major by [Measured] in [] limits [] => filed::required_on_file:
        "The attestations that the licence asks for are on file and hold";
        "BIS guidance of May 2025; NIST SP 800-53 CA-2",
    "EVI-02" Core Critical by [Measured] in [] limits [] => contradiction::none:
        "No measurement contradicts a declaration";
        "Supp. 3 to 15 CFR part 732 (knowledge)",
    "EVI-03" Further Major by [Declared] in [] limits [] => filed::assessors_independent:
        "Assessors are accredited and independent";
        "NIST SP 800-53 CA-2(1), CA-7(1)",
    "OPS-01" Core Major by [Measured] in [] limits ["coverage_min", "freshness_max"] => operations::coverage:
        "The devices on the manifest report";
        "NIST SP 800-53 CA-7",
    "OPS-02" Core Major by [Measured] in [] limits ["observation_min"] => operations::observation:
        "Device time is covered by signed samples";
        "NIST SP 800-53 CA-7, AU-12",
    "OPS-03" Core Major by [Measured] in [] limits ["freshness_max"] => age::freshness:
        "The newest report of each node is fresh";
        "NIST SP 800-53 SI-4, AU-8",
    "OPS-04" Further Major by [Measured] in [] limits ["time_bracket_max"] => age::time_bounded:
        "The time of each report is bounded from outside";
        "NIST SP 800-53 AU-8, AU-10",
    "OPS-05" Core Major by [Measured] in [] limits [] => operations::allowed_fields:
        "Reports carry only allowed fields";
        "data minimisation; protection of the operator",
    "REC-01" Core Major by [Declared, Assessed] in [] limits ["records_kept_years"] => filed::records_kept:
        "Records are kept long enough";
        "15 CFR 762.6",
    "REC-02" Further Major by [Measured] in [Ifr2025, Dcveu2024] limits ["periodic_report_every"] => filed::reports_delivered:
        "Periodic reports are delivered on time";
        "15 CFR 748.15; Supp. 10 to 15 CFR part 748, paragraph 11",
    "REC-03" Further Major by [Declared, Assessed] in [Ifr2025, Dcveu2024] limits ["review_max_age"] => filed::review_admitted:
        "The site admits reviews, and was reviewed";
        "15 CFR 748.15",
    "REC-04" Further Critical by [Measured, Declared] in [] limits ["flag_max_age", "order_rise_max"] => flags::resolved:
        "Red flags are recorded and resolved before more items move";
        "Supp. 3 to 15 CFR part 732",
}

/// The catalogue of conditions as rows of a Markdown table, as `docs/conditions.md` holds them.
#[must_use]
pub fn catalogue_rows() -> Vec<String> {
    let list = |items: Vec<String>| {
        if items.is_empty() {
            "all".to_owned()
        } else {
            items.join(", ")
        }
    };
    let row = |c: &Condition| {
        let by: Vec<&str> = c.by.iter().map(|b| b.text()).collect();
        let limits: Vec<String> = c.limits.iter().map(|l| format!("`{l}`")).collect();
        format!(
            "| {} | {} | {} | {} | {} | {} | {} | {} |",
            c.id,
            c.title,
            c.stage,
            c.severity,
            by.join(", "),
            list(c.profiles.iter().map(|p| format!("`{p}`")).collect()),
            limits.join(", "),
            c.source
        )
    };
    REGISTRY.iter().map(row).collect()
}
