//! Serving: requests come by chance, prompts are multiplied through, answers are read out word by word.
//!
//! Decides: a prompt is a forward pass; a word of every answer under way reads all parameters and every cache of keys and values once. How much
//! of each there is follows from when requests come (exponential gaps, in bursts or not), how long prompts and answers are, and how many are
//! answered at a time. Devices that share a model add up activations for each layer, 4 of (T-1)/T each for each word.

use super::machine::{Kernel, Machine, Stretch};
use crate::chance::Chance;
use std::collections::VecDeque;

/// A service of a language model.
#[derive(Clone, Debug)]
pub(super) struct Service {
    /// Devices that share the model.
    pub(super) devices: usize,
    pub(super) parameters: f64,
    pub(super) layers: f64,
    /// Bytes of keys and values for a word.
    pub(super) cache: f64,
    /// Mean words of a prompt and of an answer.
    pub(super) prompt: f64,
    pub(super) answer: f64,
    /// Share of prompts that a cache holds already.
    pub(super) known: f64,
    /// Share of what it could answer that is asked; 1 and more where work never ends.
    pub(super) asked: f64,
    /// Requests that come together.
    pub(super) burst: f64,
    /// Answers under way at most.
    pub(super) most: usize,
    /// Words that a small model guesses at a time; 0 where there is none.
    pub(super) guessed: usize,
    /// Rows to which products are filled up.
    pub(super) tile: f64,
    /// Seconds of the host's for each word.
    pub(super) host: f64,
}

impl Service {
    /// Draws one that people use.
    pub(super) fn drawn(chance: &mut Chance) -> Self {
        let parameters = chance.magnitude(1e9, 1.5e10);
        let layers = chance.between(20.0, 48.0).round();
        let width = (parameters / (12.0 * layers)).sqrt();
        Self {
            devices: 1,
            parameters,
            layers,
            // Two numbers of two bytes for each unit of width, fewer where heads share them.
            cache: 4.0 * layers * width / [1.0, 4.0, 8.0][chance.within(0..3) as usize],
            prompt: chance.magnitude(150.0, 3_000.0),
            answer: chance.magnitude(60.0, 600.0),
            known: 0.0,
            asked: chance.between(0.1, 0.85),
            burst: chance.magnitude(1.0, 4.0),
            most: chance.magnitude(8.0, 128.0) as usize,
            guessed: 0,
            tile: [16.0, 32.0, 64.0][chance.within(0..3) as usize],
            host: chance.magnitude(1e-4, 6e-3),
        }
    }

    /// The same where nobody waits: as much as fits, without end.
    pub(super) fn in_batch(mut self, chance: &mut Chance) -> Self {
        self.asked = 2.0;
        self.most = chance.magnitude(48.0, 256.0) as usize;
        self
    }

    pub(super) fn held_mib(&self) -> f64 {
        let words = self.most as f64 * (self.prompt + self.answer);
        (self.parameters * 2.0 + words * self.cache) / self.devices as f64 / 1_048_576.0 + 2_000.0
    }

    /// A pass of so many words over so many that are held, of which each looks at so many; of a model that is `small` times as large.
    fn pass(&self, words: f64, [held, seen]: [f64; 2], small: f64, machine: &Machine) -> Stretch {
        let parts = self.devices as f64;
        let own = self.parameters * small / parts;
        let width = (self.parameters / (12.0 * self.layers)).sqrt();
        let units = words * width * self.layers * small / parts;
        let layers = self.layers * small.sqrt();
        let products = Kernel {
            tensor: 2.0 * own * words.max(self.tile),
            bytes: own * 2.0 + units * 14.0,
            launches: layers * 5.0,
            ..Kernel::default()
        };
        let attention = Kernel {
            tensor: 4.0 * units * seen,
            fp32: units * seen * 0.5,
            bytes: held * self.cache * small / parts + units * 8.0,
            launches: layers * 2.0,
            ..Kernel::default()
        };
        let rest = Kernel {
            fp32: units * 30.0,
            bytes: units * 40.0,
            launches: layers * 5.0,
            ..Kernel::default()
        };
        let all = machine.run(&[products, attention, rest]);
        if self.devices == 1 {
            return all;
        }
        let sent = 2.0 * layers * 2.0 * (parts - 1.0) / parts * words * width * 2.0;
        all.with_traffic(sent, sent, 0.0, machine)
    }

    /// A prompt.
    pub(super) fn prefill(&self, words: f64, machine: &Machine) -> Stretch {
        self.pass(words * (1.0 - self.known), [words, words * 0.5], 1.0, machine)
    }

    /// So many steps, in each of which every answer under way gets a word, or as many as were guessed rightly.
    fn decode(&self, under_way: f64, held: f64, steps: f64, machine: &Machine) -> Vec<Stretch> {
        let looked_at = [held, held / under_way.max(1.0)];
        let mut one = Vec::new();
        if self.guessed > 0 {
            let mut guess = self.pass(under_way, looked_at, 0.08, machine);
            guess.seconds *= self.guessed as f64;
            one.push(guess);
        }
        one.push(self.pass(under_way * (1 + self.guessed) as f64, looked_at, 1.0, machine));
        one.push(Stretch::rest(self.host));
        one.iter_mut().for_each(|s| s.seconds *= steps);
        one
    }

    /// What it could answer in a second, about.
    fn capacity(&self, machine: &Machine) -> f64 {
        let under_way = (self.most as f64 * 0.5).max(1.0);
        let held = under_way * (self.prompt + self.answer * 0.5);
        let step: f64 = self
            .decode(under_way, held, 1.0, machine)
            .iter()
            .map(|s| s.seconds)
            .sum();
        let words = 1.0 + self.guessed as f64 * 0.6;
        let each = self.prefill(self.prompt, machine).seconds + self.answer / words * step / under_way;
        1.0 / each
    }

    /// What it does for so many seconds; devices that share the model do the same.
    pub(super) fn run(&self, machine: &Machine, seconds: f64, chance: &mut Chance) -> Vec<Vec<Stretch>> {
        let rate = self.capacity(machine) * self.asked;
        let mut done: Vec<Stretch> = Vec::new();
        let mut waiting: VecDeque<f64> = VecDeque::new();
        // Words that each answer under way still lacks, and has.
        let mut active: Vec<[f64; 2]> = Vec::new();
        let (mut at, mut next) = (0.0, 0.0);
        while at < seconds {
            while next <= at {
                for _ in 0..chance.wait(self.burst).ceil().max(1.0) as usize {
                    waiting.push_back(chance.wait(self.prompt).clamp(16.0, 8_192.0));
                }
                next += chance.wait(self.burst.max(1.0) / rate);
                if waiting.len() > 4 * self.most {
                    // Who asks more than can be answered waits with asking.
                    next = next.max(at + 0.05);
                }
            }
            let begun = done.len();
            match waiting.front().copied() {
                Some(prompt) if active.len() < self.most => {
                    waiting.pop_front();
                    done.push(self.prefill(prompt, machine));
                    active.push([chance.wait(self.answer).max(4.0), prompt]);
                }
                _ if active.is_empty() => done.push(Stretch::rest((next - at).clamp(1e-3, 0.5))),
                _ => {
                    let held: f64 = active.iter().map(|[_, has]| has).sum();
                    let steps = 4.0;
                    let right = 1.0 + (0..self.guessed).map(|_| chance.between(0.2, 1.0)).sum::<f64>();
                    done.extend(self.decode(active.len() as f64, held, steps, machine));
                    for one in &mut active {
                        one[0] -= steps * right;
                        one[1] += steps * right;
                    }
                    active.retain(|[lacks, _]| *lacks > 0.0);
                }
            }
            at += done[begun..].iter().map(|s| s.seconds).sum::<f64>();
        }
        vec![done; self.devices]
    }

    /// Two groups of devices: one works through prompts and sends what it keeps to the other, which answers.
    pub(super) fn apart(&self, machine: &Machine, seconds: f64, chance: &mut Chance) -> Vec<Vec<Stretch>> {
        let rate = self.capacity(machine) * self.asked;
        let (mut prompts, mut answers) = (Vec::new(), Vec::new());
        let (mut at, mut until) = (0.0, 0.0);
        let mut active: Vec<[f64; 2]> = Vec::new();
        while at < seconds {
            let prompt = chance.wait(self.prompt).clamp(16.0, 8_192.0);
            let sent = prompt * self.cache;
            let first = self
                .prefill(prompt, machine)
                .with_traffic(sent, 0.0, 0.5, machine);
            let rest = (chance.wait(1.0 / rate) - first.seconds).max(0.0);
            prompts.extend([first, Stretch::rest(rest)]);
            at += first.seconds + rest;
            active.push([chance.wait(self.answer).max(4.0), prompt]);
            let mut owed = sent;
            while until < at {
                if active.is_empty() {
                    answers.push(Stretch::rest(at - until));
                    until = at;
                    break;
                }
                let held: f64 = active.iter().map(|[_, has]| has).sum();
                let mut steps = self.decode(active.len() as f64, held, 4.0, machine);
                if let Some(word) = steps.first_mut() {
                    *word = word.with_traffic(0.0, owed, 1.0, machine);
                    owed = 0.0;
                }
                until += steps.iter().map(|s| s.seconds).sum::<f64>();
                answers.extend(steps);
                active.iter_mut().for_each(|one| {
                    one[0] -= 4.0;
                    one[1] += 4.0;
                });
                active.retain(|[lacks, _]| *lacks > 0.0);
            }
        }
        vec![prompts, answers]
    }

    /// Rounds: so many prompts of one length are multiplied through together, all get answers of one length, and the host deals with them before
    /// the next come. Devices that share the model do the same.
    pub(super) fn in_rounds(
        &self,
        machine: &Machine,
        seconds: f64,
        chance: &mut Chance,
    ) -> Vec<Vec<Stretch>> {
        let (many, pause) = (self.most as f64, chance.magnitude(0.02, 0.5));
        let (mut done, mut at): (Vec<Stretch>, f64) = (Vec::new(), 0.0);
        while at < seconds {
            let prompt = self.prompt * (1.0 + 0.02 * chance.noise());
            let mut first = self.prefill(prompt, machine);
            first.seconds *= many;
            let held = many * (prompt + self.answer * 0.5);
            let mut round = vec![first];
            round.extend(self.decode(many, held, self.answer, machine));
            round.push(Stretch::rest(pause * (1.0 + 0.05 * chance.noise()).max(0.5)));
            at += round.iter().map(|s| s.seconds).sum::<f64>();
            done.extend(round);
        }
        vec![done; self.devices]
    }

    /// Prompts through stages: each device holds some of the layers, and passes what comes out of them on to the next.
    pub(super) fn in_stages(
        &self,
        machine: &Machine,
        seconds: f64,
        chance: &mut Chance,
    ) -> Vec<Vec<Stretch>> {
        let stages = self.devices;
        let width = (self.parameters / (12.0 * self.layers)).sqrt();
        let whole = Self {
            devices: 1,
            ..self.clone()
        };
        let mut done: Vec<Vec<Stretch>> = vec![Vec::new(); stages];
        let mut at = 0.0;
        while at < seconds {
            let words = chance.wait(self.prompt).clamp(64.0, 8_192.0) * self.burst;
            let mut part = whole.prefill(words, machine);
            part.seconds /= stages as f64;
            at += part.seconds + self.host;
            for (stage, done) in done.iter_mut().enumerate() {
                // The first is a stage ahead of the second, which readings a tenth of a second apart hardly show.
                let passed = words * width * 2.0;
                let sent = if stage + 1 < stages { passed } else { 0.0 };
                let received = if stage > 0 { passed } else { 0.0 };
                done.push(part.with_traffic(sent, received, 0.9, machine));
                done.push(Stretch::rest(self.host));
            }
        }
        done
    }
}

/// What devices that work through batches together tell each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shared {
    /// Nothing, or there is but one.
    Nothing,
    /// What comes out of each layer, of which each device has a part.
    Layers,
    /// Results, of which each device has its own, once a batch.
    Results,
}

/// Work through a batch, a forward pass after the other: encoders, images, sound.
#[derive(Clone, Debug)]
pub(super) struct Batch {
    pub(super) devices: usize,
    /// What devices tell each other.
    pub(super) shared: Shared,
    /// Bytes of results for each word, where there are any beside one vector for each text.
    pub(super) for_each_word: f64,
    /// By how much batches differ in length, of their mean.
    pub(super) spread: f64,
    pub(super) parameters: f64,
    /// Words or pieces of images in a batch, and in what each looks at.
    pub(super) words: f64,
    pub(super) length: f64,
    pub(super) layers: f64,
    /// Bytes that small kernels move for each word and unit of width.
    pub(super) small_bytes: f64,
    /// Passes in a row, as the steps of a sampler.
    pub(super) passes: usize,
    /// Seconds of the host's after each row of passes, and bytes that come in before it.
    pub(super) host: f64,
    pub(super) input: f64,
}

impl Batch {
    /// Draws one.
    pub(super) fn drawn(passes: usize, chance: &mut Chance) -> Self {
        Self {
            devices: 1,
            shared: Shared::Nothing,
            for_each_word: 0.0,
            spread: 0.2,
            parameters: chance.magnitude(1e8, 8e9),
            words: chance.magnitude(2_048.0, 65_536.0),
            length: chance.magnitude(128.0, 2_048.0),
            layers: chance.between(12.0, 40.0).round(),
            small_bytes: chance.between(30.0, 140.0),
            passes,
            host: chance.magnitude(1e-3, 0.3),
            input: chance.magnitude(1e5, 3e8),
        }
    }

    /// What it does for so many seconds.
    pub(super) fn run(&self, machine: &Machine, seconds: f64, chance: &mut Chance) -> Vec<Vec<Stretch>> {
        let (mut done, mut at) = (Vec::new(), 0.0);
        while at < seconds {
            let words = self.words * (1.0 + self.spread * chance.noise()).clamp(0.3, 2.0);
            let width = (self.parameters / (12.0 * self.layers)).sqrt();
            let devices = self.devices as f64;
            // Each has a part of every layer, or the whole model.
            let parts = if self.shared == Shared::Layers {
                devices
            } else {
                1.0
            };
            let own = self.parameters / parts;
            let units = words * width * self.layers / parts;
            let products = Kernel {
                tensor: 2.0 * own * words,
                bytes: 2.0 * own + units * 14.0,
                launches: self.layers * 8.0,
                ..Kernel::default()
            };
            let attention = Kernel {
                tensor: 4.0 * units * self.length,
                fp32: units * self.length * 0.5,
                bytes: units * 10.0,
                launches: self.layers * 2.0,
                ..Kernel::default()
            };
            let small = Kernel {
                fp32: units * self.small_bytes * 0.4,
                bytes: units * self.small_bytes,
                launches: self.layers * 8.0,
                ..Kernel::default()
            };
            let mut pass = machine.run(&[products, attention, small]);
            if self.shared == Shared::Layers {
                let sent = 4.0 * self.layers * (parts - 1.0) / parts * words * width * 2.0;
                pass = pass.with_traffic(sent, sent, 0.0, machine);
            }
            pass.seconds *= self.passes as f64;
            let mut row = vec![pass];
            if self.shared == Shared::Results {
                let result = width * 4.0 / self.length + self.for_each_word;
                let sent = words * result * (devices - 1.0);
                row.push(Stretch::rest(1e-4).with_traffic(sent, sent, 0.0, machine));
            }
            row.push(Stretch::rest(self.host * 0.5).with_host(0.0, self.input, machine));
            row.push(Stretch::rest(self.host * 0.5));
            at += row.iter().map(|s| s.seconds).sum::<f64>();
            done.extend(row);
        }
        vec![done; self.devices]
    }
}
