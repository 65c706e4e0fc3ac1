#!/usr/bin/env python3
"""Runs the workload programs one after another and has each recorded. `README.md` says how it is used."""

import argparse
import collections
import csv
import gzip
import json
import os
import pathlib
import queue
import re
import shlex
import signal
import subprocess
import sys
import tarfile
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
INDEX = ["path", "class", "mechanism", "family", "workload", "run", "strategy", "device", "real"]
# The shortest recording that is worth its setup.
SHORTEST_S = 4.0


class Worker:
    """The process that runs programs, and what it says."""

    def __init__(self, python, device, tiny, log):
        self.said = queue.Queue()
        self.process = subprocess.Popen(
            [python, "-u", str(HERE / "worker.py"), device, "tiny" if tiny else "full"],
            cwd=HERE, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True,
        )
        threading.Thread(target=self._listen, args=(self.process.stdout,), daemon=True).start()

    def _listen(self, pipe):
        for line in pipe:
            self.said.put(json.loads(line))
        self.said.put({"event": "gone"})

    def tell(self, **order):
        try:
            self.process.stdin.write(json.dumps(order) + "\n")
            self.process.stdin.flush()
        except OSError:
            pass

    def hear(self, timeout):
        """What it says next; `silent` if that takes too long."""
        try:
            return self.said.get(timeout=max(0.01, timeout))
        except queue.Empty:
            return {"event": "silent", "error": f"no answer within {timeout:.0f} s"}

    def end(self):
        self.process.kill()
        self.process.wait()


class Suite:
    def __init__(self, options):
        self.options = options
        self.out = pathlib.Path(options.out)
        self.out.mkdir(parents=True, exist_ok=True)
        self.begun = time.monotonic()
        self.log = open(self.out / "worker.log", "a", buffering=1)
        self.worker = None
        self.device, self.devices = None, 0
        self.overheads = collections.deque([2.5], maxlen=6)
        self.recorder = self.half = None

    def run(self):
        listed = self.start()
        if listed is None:
            return 1
        known = self.index()
        todo, failed, skipped = [], 0, 0
        for program in chosen(listed, self.options):
            if (program["family"], str(self.options.run)) in known:
                continue
            lacking = self.lacking(program)
            if lacking is None:
                todo.append(program)
            else:
                # Before all else, so that what does not run takes no part of the budget.
                self.note(program, {"skipped": lacking})
                skipped += 1
        while todo:
            seconds = self.seconds(todo)
            if seconds is None:
                self.say(f"left out for want of time: {', '.join(p['family'] for p in todo)}")
                break
            program = todo.pop(0)
            begun = time.monotonic()
            result = self.one(program, seconds)
            if "error" in result:
                failed += 1
            elif "skipped" in result:
                skipped += 1
            else:
                self.overheads.append(time.monotonic() - begun - result.get("recorded_s", 0))
            self.note(program, result)
            self.archive()
        self.close()
        self.say(f"{len(self.index())} recordings, {failed} failures, {skipped} skipped in {time.monotonic() - self.begun:.0f} s")
        return 1 if failed else 0

    def seconds(self, todo):
        """How long the next is recorded: as long as was asked for, or its part of what is left of the budget."""
        wanted = self.options.seconds * todo[0]["span"]
        if self.options.budget is None:
            return wanted
        left = self.options.budget - (time.monotonic() - self.begun) - 2
        overhead = sum(self.overheads) / len(self.overheads)
        if self.worker is None:
            left -= 10
        for count in range(len(todo), 0, -1):
            # As many of the next as can be recorded for long enough.
            share = (left - overhead * count) / sum(p["span"] for p in todo[:count])
            if share * min(p["span"] for p in todo[:count]) >= SHORTEST_S:
                return min(wanted, share * todo[0]["span"])
        return None

    def start(self):
        """Starts the worker, which lists the programs."""
        self.worker = Worker(self.options.python, self.options.device, self.options.tiny, self.log)
        up = self.worker.hear(180)
        if up["event"] != "up":
            self.say(f"the worker did not start: {up}; {self.out / 'worker.log'} says more")
            self.drop()
            return None
        self.device, self.devices, self.libraries = up["device"], up["devices"], up["libraries"]
        return up["families"]

    def lacking(self, program):
        """Why a program cannot be run on so many devices; none if it can."""
        if program["devices"] > self.devices:
            return f"needs {program['devices']} GPUs, and there is {self.devices}"
        if program["devices"] == 1 < self.devices and self.options.agent and self.options.device == "cuda":
            # The others would be at rest under the label of a program.
            return f"uses one GPU, and the recorder would read all {self.devices}"
        return None

    def taken(self, program):
        """How many GPUs a program takes; none where it takes none."""
        if self.options.device != "cuda":
            return None
        return 1 if program["devices"] == 1 else self.devices

    def one(self, program, seconds):
        """Runs one program and has it recorded."""
        if self.worker is None and self.start() is None:
            return {"error": "the worker did not start"}
        self.worker.tell(
            run=program["family"], seed=self.options.run, most_steps=3 if self.options.tiny else None, set_clocks=self.options.set_clocks
        )
        # A process for each GPU has to begin first.
        ready = self.worker.hear(self.options.patience * (1 if program["devices"] == 1 else 4))
        if ready["event"] == "skipped":
            return {"skipped": ready["reason"]}
        if ready["event"] != "ready":
            return self.failed(ready)
        result = {"ready_s": ready["after_s"]}
        if self.options.agent:
            path, recorded = self.record(program, seconds)
            result.update(recorded)
        if not self.options.tiny:
            self.worker.tell(stop=True)
        done = self.worker.hear(self.options.patience)
        if done["event"] != "done":
            if "path" in result:
                (self.out / result["path"]).unlink(missing_ok=True)
            return self.failed(done)
        done.pop("event")
        return {**result, **done}

    def failed(self, event):
        if event["event"] in ("silent", "gone") or event.get("ends"):
            self.drop()
        return {"error": event.get("error", event["event"])}

    def drop(self):
        if self.worker is not None:
            self.worker.end()
            self.worker = None

    def record(self, program, seconds):
        """Records the device while the program runs, by the first agent that can."""
        slug = re.sub(r"[^a-z0-9]+", "-", self.device.lower().replace("nvidia", "")).strip("-") or "device"
        path = pathlib.Path(slug) / f"{program['family']}-{self.options.run}.csv.gz"
        target = self.out / path
        target.parent.mkdir(parents=True, exist_ok=True)
        self.half = target
        whole = max(1, round(seconds))
        label = {k: program[k] for k in ("class", "mechanism", "family", "workload", "strategy")}
        label["run"] = self.options.run
        said = ""
        for agent in list(self.options.agent):
            target.unlink(missing_ok=True)
            command = shlex.split(agent) + [
                "record", str(target), "--seconds", str(whole), "--rate", str(self.options.rate),
                "--label", ",".join(f"{k}={v}" for k, v in label.items()),
            ]
            begun = time.monotonic()
            try:
                self.recorder = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
                said = self.recorder.communicate(timeout=whole + 10)[0]
                if self.recorder.returncode == 0:
                    took = round(time.monotonic() - begun, 3)
                    recorded = {"path": str(path), "recorded_s": took, **summary(target, self.taken(program))}
                    # The one that works is asked first from now on.
                    self.options.agent.sort(key=lambda a: a != agent)
                    return path, recorded
            except (OSError, subprocess.TimeoutExpired, ValueError, EOFError) as error:
                said = repr(error)
                if self.recorder is not None:
                    self.recorder.kill()
            self.say(f"{agent} failed: {said.strip()[-300:]}")
        target.unlink(missing_ok=True)
        return path, {"error": f"not recorded: {said.strip()[-200:]}"}

    def note(self, program, result):
        """Writes down what became of a program."""
        line = {**program, "run": self.options.run, "device": self.device, "libraries": getattr(self, "libraries", {}), **result}
        with open(self.out / "runs.jsonl", "a") as runs:
            runs.write(json.dumps(line) + "\n")
        self.half = None
        if "path" in result and "error" not in result:
            new = not (self.out / "index.csv").exists()
            with open(self.out / "index.csv", "a", newline="") as index:
                rows = csv.DictWriter(index, INDEX, extrasaction="ignore", lineterminator="\n")
                if new:
                    rows.writeheader()
                rows.writerow({**line, "real": 1 if self.options.device == "cuda" else 0})
        facts = ("skipped", "ready_s", "steps", "recorded_s", "rows", "sm", "tensor", "dram", "fp32", "fp64", "integer", "power_w", "kernel", "error")
        self.say(f"{program['family']}: " + " ".join(f"{k}={result[k]}" for k in facts if k in result))

    def index(self):
        path = self.out / "index.csv"
        if not path.exists():
            return set()
        with open(path, newline="") as index:
            return {(row["family"], row["run"]) for row in csv.DictReader(index)}

    def archive(self):
        """Writes everything so far into one file, which is whole at any time."""
        if self.options.archive is None:
            return
        path = pathlib.Path(self.options.archive)
        draft = self.out.parent / (path.name + ".draft")
        with tarfile.open(draft, "w:gz") as tar:
            tar.add(self.out, arcname="corpus")
        # Copied next to its place and renamed, so that nobody finds half of it.
        beside = path.with_name("." + path.name)
        beside.write_bytes(draft.read_bytes())
        os.replace(beside, path)

    def close(self):
        if self.recorder is not None and self.recorder.poll() is None:
            self.recorder.terminate()
        self.drop()
        self.archive()

    def say(self, text):
        print(f"[{time.monotonic() - self.begun:6.1f} s] {text}", flush=True)


def summary(path, taken):
    """The means of a recording's columns, so that what went wrong is seen at once."""
    sums, rows, gpus = collections.defaultdict(list), 0, set()
    with gzip.open(path, "rt") as lines:
        for row in csv.DictReader(line for line in lines if not line.startswith("#")):
            rows += 1
            gpus.add(row["gpu"])
            for column, cell in row.items():
                if cell and column != "state":
                    sums[column].append(float(cell))
    if rows < 10:
        raise ValueError(f"the recording has {rows} rows")
    if taken is not None and len(gpus) != taken:
        # The recorder reads also what CUDA_VISIBLE_DEVICES hides, and that has not what the label says.
        raise ValueError(f"the recording has {len(gpus)} GPUs, and the program took {taken}")
    names = {"sm_active": "sm", "tensor_active": "tensor", "dram_active": "dram", "fp32_active": "fp32", "fp64_active": "fp64",
             "integer_active": "integer", "power_w": "power_w", "sm_clock_mhz": "sm_mhz"}
    return {"rows": rows, **{n: round(sum(v) / len(v), 4) for c, n in names.items() if (v := sums.get(c))}}


def families(python):
    """Asks for the list of programs in a process of its own: this one needs no PyTorch."""
    code = "import json, programs; print(json.dumps([programs.described(p) for p in programs.load()]))"
    done = subprocess.run([python, "-c", code], cwd=HERE, capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"the programs could not be listed: {done.stderr.strip().splitlines()[-1]}")
    return json.loads(done.stdout)


def chosen(listed, options):
    """The families that the options name."""
    if options.only:
        wanted = options.only.split(",")
        unknown = set(wanted) - {p["family"] for p in listed}
        if unknown:
            raise SystemExit(f"no such family: {', '.join(sorted(unknown))}; --list shows them")
        listed = [p for p in listed if p["family"] in wanted]
    number, of = options.part
    return listed[number - 1 :: of][: options.most]


def part(text):
    number, _, of = text.partition("/")
    if not (number.isdigit() and of.isdigit() and 1 <= int(number) <= int(of)):
        raise argparse.ArgumentTypeError(f"{text} is not of the form N/M, with N from 1 to M")
    return int(number), int(of)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--part", type=part, default=(1, 1), metavar="N/M", help="which part of the families, of how many")
    parser.add_argument("--out", metavar="DIR", default="corpus-out", help="where recordings and index.csv go; what is there is kept")
    parser.add_argument("--archive", metavar="FILE", help="a tar.gz of DIR, written again after each family")
    parser.add_argument("--agent", action="append", default=[], metavar="COMMAND", help="the agent; of several, the next where one fails")
    parser.add_argument("--seconds", type=float, default=12, help="how long a family is recorded (default 12)")
    parser.add_argument("--rate", type=int, default=10, help="readings per second (default 10)")
    parser.add_argument("--budget", type=float, help="seconds for all; recordings are shortened to fit")
    parser.add_argument("--most", type=int, help="at most so many families of the part")
    parser.add_argument("--only", metavar="FAMILY,…", help="only these")
    parser.add_argument("--run", type=int, default=1, help="the number of the run, from which its random numbers follow")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--tiny", action="store_true", help="three steps of each, with sizes that any machine can do")
    parser.add_argument("--set-clocks", action="store_true", help="let clocked_training lock the GPU's clocks while it runs")
    parser.add_argument("--patience", type=float, default=30, help="seconds for which a program may say nothing (default 30)")
    parser.add_argument("--python", default=sys.executable, help="the Python that has PyTorch")
    parser.add_argument("--list", action="store_true", help="list the families and end")
    options = parser.parse_args()
    there = "import importlib.util, sys; sys.exit(importlib.util.find_spec('torch') is None)"
    if subprocess.run([options.python, "-c", there]).returncode != 0:
        print("skipped: PyTorch is not installed, and the programs of the corpus need it")
        return 0
    if options.list:
        for p in chosen(families(options.python), options):
            print(",".join([p["class"], p["mechanism"], p["family"], p["workload"], p["strategy"]]))
        return 0
    suite = Suite(options)

    def stop(*_):
        # Nothing here waits for a lock that the interrupted code may hold.
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)
        for process in (suite.recorder, suite.worker and suite.worker.process):
            try:
                if process is not None and process.returncode is None:
                    os.kill(process.pid, signal.SIGKILL)
            except OSError:
                pass
        if suite.half is not None:
            suite.half.unlink(missing_ok=True)
        os.write(2, b"stopped\n")
        suite.archive()
        os._exit(1)

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    return suite.run()


if __name__ == "__main__":
    sys.exit(main())
