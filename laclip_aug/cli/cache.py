"""Look into a cache of rewrites, check it, or fill it with rewrites that exist already.

examples:
  laclip-aug cache info rewrites
  laclip-aug cache show rewrites "a dog on a beach"
  laclip-aug cache verify rewrites
  laclip-aug cache repair rewrites
  laclip-aug cache import sample.jsonl --cache rewrites --caption-key raw --rewrite-key fused --source capsfusion
  laclip-aug cache import flickr8k.tsv --cache rewrites --group-key filepath --index-key caption_index
  laclip-aug cache import 'data/recap/*.parquet' --cache rewrites
  laclip-aug cache import 'data/datacompdr/*.tar' --cache rewrites --captions 'data/datacomp/*.parquet'
  laclip-aug cache import coco.jsonl --cache rewrites --list-key captions
  laclip-aug cache import cc3m.csv --cache rewrites --lines chatgpt=gpt.txt --lines bard=bard.txt
  laclip-aug cache export rewrites rewrites.parquet
  laclip-aug cache export rewrites with-rewrites.tsv --for captions.tsv
  laclip-aug cache export rewrites 'lines/{source}.txt' --for captions.tsv
  laclip-aug cache export rewrites new-tars --for 'cc3m/{00000..00331}.tar'
  laclip-aug cache merge part-0 part-1 part-2 --out rewrites
  laclip-aug cache add-strategy rewrites --strategies mscoco --out more
  laclip-aug cache filter rewrites --gate "sound>=0.65 truth>=0.6" --out stricter
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from shlex import quote

from laclip_aug.cli.augmenters import add_augmenter_arguments, augmenter_from
from laclip_aug.cli.export import add_export_arguments, run_export
from laclip_aug.cli.filter import add_filter_arguments, run_filter
from laclip_aug.cli.importing import add_import_arguments, run_import
from laclip_aug.cli.numbers import check_counts
from laclip_aug.cli.streams import printable


def add_arguments(parser: argparse.ArgumentParser, argv: Sequence[str]) -> None:
    """Add the actions of ``cache``, each with its own options."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)

    def action(name: str, text: str, target: str = "directory") -> argparse.ArgumentParser:
        sub = actions.add_parser(name, help=text, description=text, allow_abbrev=False)
        if target:
            sub.add_argument(target, metavar="CACHE", help="the directory of the cache")
        return sub

    action("info", "what made the cache, and what it holds")
    show = action("show", "records: one caption's, the first, or a random sample")
    show.add_argument("caption", nargs="?", metavar="CAPTION")
    show.add_argument("--head", type=int, metavar="N", help="the first N records in the order of their keys")
    show.add_argument("--sample", type=int, metavar="N", help="N records at random (default: 5)")
    show.add_argument("--seed", type=int, default=0, help="of the sample (default: 0)")
    action("verify", "check every shard and every lookup entry; exit status 1 if anything is damaged")
    action("compile", "make the look-up anew, after damage to it or to use an unfinished build")
    action("repair", "after damage: keep all that is sound, say what was lost; the next build makes that again")
    add_export_arguments(
        action("export", "write all records, with what was rejected and why; or, with --for, the texts beside data")
    )
    filtering = action("filter", "another gate for a finished cache: nothing is made again, nothing is lost")
    add_filter_arguments(filtering, full=list(argv[:1]) == ["filter"])
    merging = action("merge", "several caches as one, such as the shards of a divided build", target="")
    merging.add_argument(
        "directories", nargs="+", metavar="CACHE", help="finished caches; the first to have a caption wins"
    )
    merging.add_argument(
        "--out", dest="directory", required=True, metavar="DIR", help="the cache to make or add to; what it holds wins"
    )
    merging.add_argument("--allow-mixed", action="store_true", help="caches of different configurations")
    adding = action("add-strategy", "texts of further strategies beside those that a finished cache holds")
    adding.add_argument("--out", required=True, metavar="DIR", help="the cache to make or go on with")
    adding.add_argument("--n", type=int, metavar="N", help="new texts per caption (default: one per strategy)")
    adding.add_argument("--seed", type=int, metavar="N", help="of the new texts (default: the cache's)")
    if list(argv[:1]) == ["add-strategy"]:
        add_augmenter_arguments(adding, argv)
    importing = action("import", "store rewrites that exist already", target="")
    add_import_arguments(importing)


def run(args: argparse.Namespace) -> int:
    """Run the action and return its exit status."""
    from laclip_aug.exchange.addresses import local_directory

    local_directory(args.directory)
    actions = {
        "info": _info,
        "show": _show,
        "verify": _verify,
        "compile": _compile,
        "repair": _repair,
        "import": run_import,
        "export": run_export,
        "filter": run_filter,
        "merge": _merge,
        "add-strategy": _add_strategy,
    }
    return actions[args.action](args)


def _info(args: argparse.Namespace) -> int:
    from laclip_aug.cache.browse import snapshot
    from laclip_aug.cache.format import UNFINISHED

    now = snapshot(Path(args.directory))
    manifest, counts = now.manifest, now.counts
    for config in manifest.configs:
        print(f"augmenter: {config.augmenter} (fingerprint {config.fingerprint})")
        print(f"sources: {', '.join(config.sources)}; texts per caption: {config.n}; seed: {config.seed}")
        for name, value in config.describe.items():
            if name not in ("augmenter", "sources"):
                print(f"  {name}: {value}")
    print(f"captions: {counts.captions}, with a rewrite: {counts.with_rewrites}, tokens: {counts.tokens}")
    if now.journal.size:
        print(f"  of these in the journal of an unfinished build: {now.journal.size}")
    for sentence in [*now.journal.damage, *now.journal.left_out]:
        print(f"  {sentence}")
    if manifest.unfinished:
        print(f"  {UNFINISHED}")
    for source, number in counts.rewrites.items():
        print(f"  rewrites, {source}: {number}")
    if counts.tried:
        print(f"attempts accepted: {counts.acceptance:.1%}")
    for reason, number in sorted(counts.rejections.items(), key=lambda item: -item[1]):
        print(f"  rejections, {reason}: {number}")
    for name, entry in manifest.inputs.items():
        refused = ", ".join(f"{reason} {number}" for reason, number in entry["rejections"].items())
        failed = "".join(f"; failed, {reason}: {number}" for reason, number in entry.get("failed", {}).items())
        print(f"input {name}: {entry['rows']} rows, refused: {refused or 'none'}{failed}")
        for line in entry.get("alignment", []):
            print(f"  {line}")
    tables = manifest.tables
    compiled = sum(table.records for table in tables)
    state = f"{compiled} captions in {len(tables)} files, {sum(table.bytes for table in tables)} bytes"
    print(f"shards: {len(manifest.shards)}; look-up: {state if tables else 'none; the build has not finished'}")
    for number, made in enumerate(manifest.runs):
        shards = sum(number in shard.made_by for shard in manifest.shards)
        parts = [f"{name} {value}" for name, value in made["versions"].items()]
        parts += [f"{name} {value}" for name, value in made.items() if name not in ("versions", "config")]
        print(f"run {number + 1}, {shards} shards: {', '.join(parts)}")
    return 0


def _show(args: argparse.Namespace) -> int:
    from laclip_aug.cache.browse import find, head, sample
    from laclip_aug.cache.folding import FOLDED, leader_of
    from laclip_aug.errors import CacheMissError, ConfigurationError

    chosen = [name for name in ("caption", "head", "sample") if getattr(args, name) is not None]
    if len(chosen) > 1:
        raise ConfigurationError("give one of CAPTION, --head and --sample")
    directory = Path(args.directory)
    if args.caption is not None:
        record = find(directory, args.caption)
        if record is None:
            raise CacheMissError(
                f"the cache does not know {args.caption!r}; try: laclip-aug cache show {quote(str(directory))} --head 5"
            )
        records = [record]
    elif args.head is not None:
        records = head(directory, args.head)
    else:
        records = sample(directory, 5 if args.sample is None else args.sample, args.seed)
    for record in records:
        lines = [f"{record.image}: {record.caption}" if record.image else record.caption]
        lines += [f"  {rewrite.source}: {rewrite.text}" for rewrite in record.rewrites]
        leader = leader_of(record)
        if leader is not None:
            lines.append(f"  folded onto: {leader}")
        lines += [
            f"  {rejection.source}, rejected, {rejection.reason}: {rejection.text}"
            for rejection in record.rejections
            if rejection.reason != FOLDED
        ]
        print("\n".join(map(printable, lines)))
    return 0


def _verify(args: argparse.Namespace) -> int:
    from laclip_aug.cache.verify import verify_cache

    damage, unfinished = verify_cache(args.directory)
    for sentence in [*damage, *unfinished]:
        print(sentence)
    print("damaged" if damage else "sound, but not finished" if unfinished else "sound")
    return 1 if damage else 0


def _compile(args: argparse.Namespace) -> int:
    from laclip_aug.cache.browse import snapshot
    from laclip_aug.cache.format import UNFINISHED
    from laclip_aug.cache.repair import compile_cache

    left_out = snapshot(Path(args.directory)).journal.left_out
    manifest = compile_cache(args.directory)
    tables = manifest.tables
    print("".join(f"{sentence}\n" for sentence in left_out), end="")
    print(f"look-up of {sum(t.records for t in tables)} captions, {sum(t.bytes for t in tables)} bytes")
    if manifest.unfinished:
        print(UNFINISHED)
    return 0


def _repair(args: argparse.Namespace) -> int:
    from laclip_aug.cache.repair import repair_cache

    said = repair_cache(args.directory)
    print("\n".join([*said, "repaired"] if said else ["nothing was damaged"]))
    return 0


def _merge(args: argparse.Namespace) -> int:
    from laclip_aug.cache.merge import merge_caches

    report = merge_caches(args.directories, args.directory, allow_mixed=args.allow_mixed)
    print("\n".join(report.lines()))
    return 0


def _add_strategy(args: argparse.Namespace) -> int:
    from laclip_aug.cache.add import add_texts

    check_counts(args, "n")
    augmenter = augmenter_from(args)
    try:
        report = add_texts(args.directory, args.out, augmenter, n=args.n, seed=args.seed)
    finally:
        augmenter.close()
    print("\n".join(report.lines()))
    return 1 if report.failed else 0
