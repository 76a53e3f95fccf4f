"""What findings are as values: order, JSON, HTML, SARIF, runtimes, rules left out."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

import fbs
import quantref as qr
from kernels.profiles import PROFILES
from quantref.checks.rule import ALL
from quantref.checks.rules import FAMILIES, RULES
from quantref.checks.sarif import sarif
from tests.quantref.check.faults import FAULTS
from tests.quantref.check.models import network, with_entry, with_op, with_value, with_version


def several() -> fbs.Model:
    """Build the network with faults in many places."""
    model = with_value(network(), "conv_w", (0, 0, 0, 0), -128)
    model = with_entry(model, "depthwise_b", "scale", 6, 0.001)
    model = with_entry(model, "joined", "zero_point", 0, 3)
    model = with_value(model, "dense_w", 7, 0)
    model = with_op(model, 6, inputs=(99,))
    return with_version(model, 5, 99)


def test_all_findings_come_at_once_and_in_order() -> None:
    found = qr.check(several())
    rules = [(finding.location.op_index, finding.rule.id) for finding in found]
    assert rules == [(0, "QR209"), (1, "QR302"), (3, "QR311"), (5, "QR601"), (5, "QR701"), (6, "QR001")]
    assert qr.check(several()) == found
    assert found.counts == {"error": 4, "warning": 2, "note": 0}
    assert [finding.severity for finding in found.errors] == [qr.Severity.ERROR] * 4


def test_findings_are_frozen_and_say_everything() -> None:
    found = qr.check(several())
    with pytest.raises(dataclasses.FrozenInstanceError):
        found.file = "other"  # type: ignore[misc]
    told = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert told["counts"]["error"] == 4
    first = told["findings"][0]
    assert set(first) == {
        *("severity", "rule", "slug", "file", "subgraph", "op_index", "op", "tensors", "message", "expected", "found"),
        *("runtimes", "effect", "mend"),
    }
    summary, page = found.summary(), found._repr_html_()
    for finding in found:
        assert finding.rule.id in summary
        assert finding.mend in summary
        assert finding.rule.slug in page
    assert page.count("<tr>") == len(found) + 1


def test_names_are_escaped() -> None:
    model = network()
    tensors = tuple(
        dataclasses.replace(t, name="<script>") if t.name == "dense" else t for t in model.subgraphs[0].tensors
    )
    graph = dataclasses.replace(model.subgraphs[0], tensors=tensors)
    odd = with_entry(dataclasses.replace(model, subgraphs=(graph,)), "<script>", "zero_point", 0, 200)
    assert "<script>" not in qr.check(odd)._repr_html_()


def test_a_runtime_is_told_what_it_minds_alone() -> None:
    model = FAULTS["axis of the filter on the bias"].build()
    assert [finding.severity for finding in qr.check(model)] == [qr.Severity.WARNING]
    (finding,) = qr.check(model, runtimes="litert-reference")
    assert finding.severity is qr.Severity.ERROR
    assert finding.runtimes == ("litert-reference",)
    assert not qr.check(model, runtimes=["tflm", "cmsis-nn"]).items


def test_rules_are_left_out_by_id_or_name() -> None:
    model = FAULTS["a weight of -128"].build()
    assert len(qr.check(model)) == 1
    assert not qr.check(model, ignore="QR209").items
    assert not qr.check(model, ignore=["weights-lowest-code"]).items
    with pytest.raises(qr.InputError, match="rule"):
        qr.check(model, ignore="QR999")
    with pytest.raises(qr.InputError, match="profile"):
        qr.check(model, runtimes="abacus")


def test_rules_are_well_formed() -> None:
    assert len({rule.slug for rule in RULES.values()}) == len(RULES)
    assert sum(len(module.RULES) for _, module in FAMILIES) == len(RULES)
    assert set(ALL) == set(PROFILES)
    for rule in RULES.values():
        assert set(rule.runtimes) <= set(PROFILES), rule.id
        assert rule.reason.endswith("."), rule.id
        assert not rule.title.endswith("."), rule.id
        assert not rule.mend.endswith("."), rule.id
        assert rule.source, rule.id


def test_sarif_has_what_the_standard_requires() -> None:
    results = [qr.check(several()), qr.check(FAULTS["NaN as scale"].build())]
    log = json.loads(json.dumps(sarif(results), allow_nan=False))
    assert log["version"] == "2.1.0"
    assert log["$schema"].endswith("sarif-schema-2.1.0.json")
    (run,) = log["runs"]
    rules = run["tool"]["driver"]["rules"]
    assert [rule["id"] for rule in rules] == list(RULES)
    assert run["artifacts"] == [{"location": {"uri": "model"}}]
    assert len(run["results"]) == sum(len(result) for result in results)
    for result in run["results"]:
        assert result["level"] in {"error", "warning", "note"}
        assert rules[result["ruleIndex"]]["id"] == result["ruleId"]
        assert result["message"]["text"]
        (location,) = result["locations"]
        index = location["physicalLocation"]["artifactLocation"]["index"]
        assert 0 <= index < len(run["artifacts"])
        assert location["logicalLocations"][0]["fullyQualifiedName"]
    assert results[0].to_sarif()["runs"][0]["results"] == run["results"][: len(results[0])]


def test_bytes_paths_and_models_are_taken(tmp_path) -> None:
    model = FAULTS["a weight of -128"].build()
    path = tmp_path / "odd.tflite"
    fbs.save(model, path)
    of_path = qr.check(path)
    assert of_path.file == str(path)
    assert [f.rule.id for f in of_path] == [f.rule.id for f in qr.check(path.read_bytes())] == ["QR209"]
    with pytest.raises(qr.InputError):
        qr.check(tmp_path / "absent.tflite")
    with pytest.raises(qr.ModelError):
        qr.check(b"nothing of the kind")


def test_a_model_of_several_subgraphs() -> None:
    inner = with_value(network(), "dense_w", 7, 0).subgraphs[0]
    model = dataclasses.replace(network(), subgraphs=(network().subgraphs[0], inner))
    (finding,) = qr.check(model)
    assert finding.location.subgraph == 1
    assert str(finding.location).startswith("subgraph 1, op 5 FULLY_CONNECTED")
    assert np.array_equal(finding.location.tensors, ["dense_w"])
