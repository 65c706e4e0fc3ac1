//! About what devices compute.

use crate::id::Digest;
use crate::statement::value::{Country, Large, Line, Prose, Pseudonym, Share, tables, words};

words! {
    /// What a model is trained for.
    pub enum TrainingPurpose {
        /// From the start.
        PreTraining = "pre-training",
        /// On from a model that exists.
        FineTuning = "fine-tuning",
        /// Anything else that trains.
        Other = "other",
    }

    /// Whether weights are published.
    pub enum WeightAccess {
        /// Anyone may have them.
        Open = "open",
        /// They are not published.
        Closed = "closed",
    }
}

tables! {
    /// That a tenant trains a model (TRN-05, TRN-07, TRN-08; ECCN 4E091).
    pub struct TrainingDeclaration {
        /// The tenant, as the site's agents report it.
        tenant: Pseudonym = "\"00000000000000000000000000000000\"",
        /// What for.
        purpose: TrainingPurpose = "\"fine-tuning\"",
        /// The most devices that compute for it together.
        devices_at_most: u64 = "256",
        /// The most operations that it takes, as ECCN 4E091 counts them.
        operations: Large = "\"3e23\"",
        /// Operations that the model was trained with before, for a model that exists.
        base_operations: Option<Large> = "\"2e24\"",
        /// Whether that model's weights are published.
        base_weights: Option<WeightAccess> = "\"open\"",
        /// The share of device time in which a kernel is resident.
        busy_share: Option<Share> = "0.9",
        /// The share of compute that goes into training.
        training_share: Option<Share> = "0.4",
    }

    /// Where weights are, or went (TRN-09, SEC-08; Supp. 10 to 15 CFR part 748, paragraphs 8 and 15).
    pub struct WeightCustody {
        /// The weights: SHA-256 of a manifest of their files, never a name.
        weights: Digest = "\"0000000000000000000000000000000000000000000000000000000000000000\"",
        /// Whether they are published.
        access: WeightAccess = "\"closed\"",
        /// Whether ECCN 4E091 covers them.
        controlled: bool = "false",
        /// The systems on which they are held.
        systems: Vec<Line> = "[\"hall 2, storage cluster 1\"]",
        /// Whether these systems serve this alone.
        dedicated: bool = "true",
        /// Whether access to them is limited in rate, by a narrow interface.
        rate_limited: bool = "true",
        /// The country that they went to, for a transfer.
        transferred_to: Option<Country> = "\"NL\"",
        /// Under which authorisation.
        authorisation: Option<Line> = "\"D1234567\"",
        /// What else there is to say.
        notes: Option<Prose> = "\"Two copies, one of them sealed.\"",
    }
}
