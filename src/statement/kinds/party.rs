//! About parties: who they are, who owns them, what they may do.

use crate::id::Digest;
use crate::statement::value::{At, Country, Line, Prose, Pseudonym, Share, tables, words};

words! {
    /// A party's place between maker and user.
    pub enum SupplyChainRole {
        /// Uses the devices itself.
        EndUser = "end user",
        /// Rents them out.
        Provider = "infrastructure provider",
        /// Sells them on.
        Reseller = "reseller",
        /// Sells them on for their maker.
        Distributor = "distributor",
        /// Carries them.
        Forwarder = "freight forwarder",
        /// Makes servers of them.
        Manufacturer = "manufacturer",
    }

    /// What an address is.
    pub enum AddressKind {
        /// A data centre.
        DataCentre = "data centre",
        /// Offices or works.
        Commercial = "commercial",
        /// Someone's home.
        Residential = "residential",
        /// It cannot be told.
        Vague = "vague",
    }

    /// How much there is of a party in public.
    pub enum WebPresence {
        /// As one would expect of its business.
        Established = "established",
        /// Little.
        Little = "little",
        /// None.
        None = "none",
    }

    /// How an order fits the business of who ordered.
    pub enum Fit {
        /// It fits.
        Fits = "fits",
        /// That is doubtful.
        Doubtful = "doubtful",
        /// It does not.
        DoesNotFit = "does not fit",
    }

    /// What a list said of a party.
    pub enum ScreeningResult {
        /// It is not on it.
        Clear = "clear",
        /// Someone of a like name is.
        PossibleMatch = "possible match",
        /// It is.
        Match = "match",
    }

    /// What kind of authorisation something is.
    pub enum AuthorisationKind {
        /// A licence.
        Licence = "licence",
        /// Validated end user, data centre (15 CFR 748.15, October 2024).
        DataCentreVeu = "data-centre-veu",
        /// Universal validated end user.
        UniversalVeu = "universal-veu",
        /// National validated end user.
        NationalVeu = "national-veu",
        /// A licence exception.
        Exception = "exception",
        /// The confirmation of an authorisation further up the chain of supply.
        UpstreamConfirmation = "upstream-confirmation",
        /// The permission for a device that is presumed to break the rules.
        ListedDevice = "listed-device",
        /// No licence is needed, for the reason that `terms` states.
        NotNeeded = "not-needed",
    }

    /// What is reached from afar.
    pub enum AccessKind {
        /// Devices.
        Remote = "remote",
        /// A model.
        Model = "model",
        /// What a reseller sells on.
        Reseller = "reseller",
    }
}

tables! {
    /// What a consignee undertakes (TEN-04; 15 CFR 744.21, 744.22).
    pub struct EndUserCertificate {
        /// Who receives the items.
        consignee: Line = "\"Harbour Compute Pte. Ltd.\"",
        /// Where it is established.
        country: Country = "\"SG\"",
        /// The items, by model and number.
        items: Vec<Line> = "[\"1,024 x H100 SXM5 80GB\"]",
        /// What it will do with them.
        end_use: Prose = "\"Rental of computing time to businesses.\"",
        /// Whether it will not export, reexport or transfer them to country group D:5 or Macau.
        no_transfer_to_barred: bool = "true",
        /// Whether they serve no military and no military-intelligence end use or end user.
        no_military_use: bool = "true",
        /// Whether they serve no weapon of mass destruction.
        no_wmd_use: bool = "true",
    }

    /// Who a tenant is (TEN-01, TEN-02, TRN-06; Supp. 3 to 15 CFR part 732).
    pub struct TenantKyc {
        /// The tenant, as the site's agents report it.
        tenant: Pseudonym = "\"00000000000000000000000000000000\"",
        /// Where it has its headquarters.
        headquarters: Country = "\"JP\"",
        /// Where its ultimate parent has its headquarters; left out where that could not be found out.
        ultimate_parent: Option<Country> = "\"JP\"",
        /// Who owns a quarter of it or more, or controls it.
        owners: Option<Vec<TenantOwner>> = "",
        /// What it computes for, in general terms.
        end_use: Prose = "\"Development of software for medical imaging.\"",
        /// When it was last looked into.
        verified: At = "2026-11-15",
        /// How.
        method: Prose = "\"Register extract, identity of signatories, and a call.\"",
    }

    /// An owner of a tenant, without its name: none leaves a site.
    pub struct TenantOwner {
        /// Where it is established or lives.
        country: Country = "\"JP\"",
        /// Its share.
        share: Share = "0.6",
        /// Whether it stands on a list of barred parties.
        listed: bool = "false",
    }

    /// An owner.
    pub struct Owner {
        /// Where it is established or lives.
        country: Country = "\"JP\"",
        /// Its share.
        share: Share = "0.6",
        /// Whether it stands on a list of barred parties.
        listed: bool = "false",
        /// Its name.
        name: Option<Line> = "\"Example Holdings K.K.\"",
    }

    /// What a supplier found out about a customer (the red flags of Supp. 3 to 15 CFR part 732 and of the guidance of May 2025).
    pub struct DueDiligence {
        /// The customer.
        customer: Line = "\"Harbour Compute Pte. Ltd.\"",
        /// When it was incorporated.
        incorporated: At = "2019-04-02",
        /// Where it has its headquarters.
        headquarters: Country = "\"SG\"",
        /// Where its ultimate parent has its headquarters; left out where that could not be found out.
        ultimate_parent: Option<Country> = "\"SG\"",
        /// What its address is.
        address: AddressKind = "\"data centre\"",
        /// Whether address, telephone or mail are also those of a listed party.
        contact_of_listed: bool = "false",
        /// Its place between maker and user.
        supply_chain_role: SupplyChainRole = "\"infrastructure provider\"",
        /// How much there is of it in public.
        web_presence: WebPresence = "\"established\"",
        /// Advanced accelerators that it bought before October 2022.
        bought_before: u64 = "128",
        /// And since.
        bought_since: u64 = "1024",
        /// How the order fits its business.
        fit: Fit = "\"fits\"",
        /// Whether it says where the items will stand and what they are for.
        discloses_use: bool = "true",
        /// Whether the data centre affirms that it has power, cooling and space for them.
        affirms_capacity: bool = "true",
        /// Whether the route is as one would expect.
        usual_route: bool = "true",
        /// Whether it would train a model of ECCN 4E091 for a party from outside the allied countries (red flag 28).
        trains_controlled_model: bool = "false",
        /// What else was found.
        notes: Option<Prose> = "\"Visited on 2026-09-03.\"",
    }

    /// Owners and control (SUP-01; Supp. 10 to 15 CFR part 748, paragraph 13).
    pub struct Ownership {
        /// The party.
        party: Line = "\"Harbour Compute Pte. Ltd.\"",
        /// Where it has its headquarters.
        headquarters: Country = "\"SG\"",
        /// Its ultimate parent.
        ultimate_parent: Line = "\"Harbour Holdings Pte. Ltd.\"",
        /// Where that has its headquarters.
        ultimate_parent_country: Country = "\"SG\"",
        /// Who owns a part of it or controls it.
        owners: Vec<Owner> = "",
        /// Whether all owners of a tenth or more are named.
        complete: bool = "true",
        /// When ownership or control last changed.
        changed: Option<At> = "2024-02-01",
    }

    /// That parties were held against a list (TEN-03; 15 CFR 744.16, 744.21).
    pub struct Screening {
        /// The list.
        list: Line = "\"Consolidated Screening List\"",
        /// Of which day.
        list_date: At = "2026-11-19",
        /// SHA-256 of the list as it was used.
        list_digest: Option<Digest> = "\"0000000000000000000000000000000000000000000000000000000000000000\"",
        /// Tenants that were screened, by pseudonym.
        tenants: Option<Vec<Pseudonym>> = "[\"00000000000000000000000000000000\"]",
        /// Other parties that were screened.
        parties: Option<Vec<Line>> = "[\"Harbour Compute Pte. Ltd.\"]",
        /// Whether owners and addresses were screened with them.
        owners_screened: bool = "true",
        /// Whether parties of which listed ones own half or more together count as listed.
        half_ownership_counted: bool = "true",
        /// The worst that came out.
        result: ScreeningResult = "\"clear\"",
        /// What a possible match came to.
        resolution: Option<Prose> = "\"Another person of the same name, born in 1951.\"",
    }

    /// Who reaches devices or models from afar (TEN-05, TEN-07).
    pub struct AccessAgreement {
        /// What is reached.
        reaches: AccessKind = "\"remote\"",
        /// From which countries.
        countries: Vec<Country> = "[\"SG\", \"JP\"]",
        /// Tenants that it concerns, by pseudonym.
        tenants: Option<Vec<Pseudonym>> = "[\"00000000000000000000000000000000\"]",
        /// Whether whoever sells on is bound to the same checks.
        flow_down: bool = "true",
        /// Sessions that the gateway logged in the period.
        sessions: Option<u64> = "40112",
        /// Those of them from other countries.
        sessions_elsewhere: Option<u64> = "0",
        /// The root of the gateway's log: SHA-256.
        log_digest: Option<Digest> = "\"0000000000000000000000000000000000000000000000000000000000000000\"",
    }

    /// Under what items may be where they are (SUP-02; 15 CFR 748.15; General Prohibition 10).
    pub struct Authorisation {
        /// What kind of authorisation it is.
        kind: AuthorisationKind = "\"licence\"",
        /// Its number.
        number: Line = "\"D1234567\"",
        /// Who gave it.
        authority: Line = "\"Bureau of Industry and Security\"",
        /// To whom.
        consignee: Line = "\"Harbour Compute Pte. Ltd.\"",
        /// The export control classification of the items.
        eccn: Option<Line> = "\"3A090.a\"",
        /// What it covers, by model and number.
        items: Option<Vec<AuthorisedItem>> = "",
        /// Countries between which it lets items move.
        countries: Option<Vec<Country>> = "[\"SG\"]",
        /// Tenants that it covers, by pseudonym.
        tenants: Option<Vec<Pseudonym>> = "[\"00000000000000000000000000000000\"]",
        /// Its terms, or why no licence is needed.
        terms: Option<Prose> = "\"No transfer without a further authorisation.\"",
        /// The document itself: SHA-256 of its bytes.
        document: Option<Digest> = "\"0000000000000000000000000000000000000000000000000000000000000000\"",
    }

    /// Items of an authorisation.
    pub struct AuthorisedItem {
        /// The model, as the catalogue of accelerators has it.
        model: Line = "\"H100 SXM5 80GB\"",
        /// How many.
        count: u64 = "1024",
    }
}
