"""What everything stands on: errors, settings and their trees with marks, components, words."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stepbus.base.arrays import IntArray as IntArray
    from stepbus.base.arrays import LabelArray as LabelArray
    from stepbus.base.components import KINDS as KINDS
    from stepbus.base.components import Component as Component
    from stepbus.base.components import Components as Components
    from stepbus.base.components import Selected as Selected
    from stepbus.base.components import components_of as components_of
    from stepbus.base.errors import BadInput as BadInput
    from stepbus.base.errors import CheckpointError as CheckpointError
    from stepbus.base.errors import ConfigError as ConfigError
    from stepbus.base.errors import DataError as DataError
    from stepbus.base.errors import Interrupted as Interrupted
    from stepbus.base.errors import ModelError as ModelError
    from stepbus.base.errors import PluginError as PluginError
    from stepbus.base.errors import PluginFailure as PluginFailure
    from stepbus.base.errors import StepbusError as StepbusError
    from stepbus.base.errors import did_you_mean as did_you_mean
    from stepbus.base.errors import error_words as error_words
    from stepbus.base.errors import mention as mention
    from stepbus.base.errors import outcome as outcome
    from stepbus.base.errors import raise_first as raise_first
    from stepbus.base.hook_arguments import check_arguments as check_arguments
    from stepbus.base.json_output import strict_json as strict_json
    from stepbus.base.markers import hookimpl as hookimpl
    from stepbus.base.markers import hookspec as hookspec
    from stepbus.base.paths import MAX_NAME as MAX_NAME
    from stepbus.base.paths import is_url as is_url
    from stepbus.base.paths import unusable as unusable
    from stepbus.base.paths import usable as usable
    from stepbus.base.problems import Problem as Problem
    from stepbus.base.quoting import one_line as one_line
    from stepbus.base.quoting import printable as printable
    from stepbus.base.quoting import values_without_secrets as values_without_secrets
    from stepbus.base.quoting import without_secrets as without_secrets
    from stepbus.base.reading import MAX_DIGITS as MAX_DIGITS
    from stepbus.base.reading import json_of as json_of
    from stepbus.base.reading import once as once
    from stepbus.base.reading import open_file as open_file
    from stepbus.base.reading import parse_json as parse_json
    from stepbus.base.reading import read_file as read_file
    from stepbus.base.reading import read_foreign as read_foreign
    from stepbus.base.reading import read_json as read_json
    from stepbus.base.reading import refuse_half_characters as refuse_half_characters
    from stepbus.base.reading import require_file as require_file
    from stepbus.base.refusals import ON_WRITING as ON_WRITING
    from stepbus.base.refusals import remedy_of as remedy_of
    from stepbus.base.requests import POLICIES as POLICIES
    from stepbus.base.requests import REQUESTS as REQUESTS
    from stepbus.base.requests import Asker as Asker
    from stepbus.base.requests import Caller as Caller
    from stepbus.base.requests import UndeclaredError as UndeclaredError
    from stepbus.base.requests import as_caller as as_caller
    from stepbus.base.requests import asks_of as asks_of
    from stepbus.base.requests import may_select as may_select
    from stepbus.base.requests import policy_of as policy_of
    from stepbus.base.requests import scope_of as scope_of
    from stepbus.base.retention import Retention as Retention
    from stepbus.base.row_sources import SCHEME as SCHEME
    from stepbus.base.row_sources import by_scheme as by_scheme
    from stepbus.base.row_sources import claimed as claimed
    from stepbus.base.row_sources import possible_files as possible_files
    from stepbus.base.row_sources import reader_problem as reader_problem
    from stepbus.base.settings import Location as Location
    from stepbus.base.settings import component as component
    from stepbus.base.settings import setting as setting
    from stepbus.base.settings import show as show
    from stepbus.base.settings import show_python as show_python
    from stepbus.base.settings import words as words
    from stepbus.base.settings import yaml_float as yaml_float
    from stepbus.base.spelling import as_written as as_written
    from stepbus.base.spelling import from_here as from_here
    from stepbus.base.terminal import ESCAPE as ESCAPE
    from stepbus.base.terminal import leave_pipe as leave_pipe
    from stepbus.base.trees import as_list as as_list
    from stepbus.base.trees import built as built
    from stepbus.base.trees import count as count
    from stepbus.base.trees import fields_of as fields_of
    from stepbus.base.trees import named as named
    from stepbus.base.trees import number as number
    from stepbus.base.trees import text as text
    from stepbus.base.version import HOOKS_VERSION as HOOKS_VERSION
    from stepbus.base.version import __version__ as __version__
    from stepbus.base.wording import counted as counted
    from stepbus.base.wording import listed as listed
    from stepbus.base.wording import snake_case as snake_case
else:
    from stepbus.base.lazy import lazily

    __getattr__, __dir__, __all__ = lazily(
        __name__,
        arrays="IntArray LabelArray",
        components="Component Components KINDS Selected components_of",
        errors="BadInput CheckpointError ConfigError DataError Interrupted ModelError PluginError PluginFailure "
        "StepbusError did_you_mean error_words mention outcome raise_first",
        hook_arguments="check_arguments",
        json_output="strict_json",
        markers="hookimpl hookspec",
        paths="MAX_NAME is_url unusable usable",
        problems="Problem",
        quoting="one_line printable values_without_secrets without_secrets",
        reading="MAX_DIGITS json_of once open_file parse_json read_file read_foreign read_json "
        "refuse_half_characters require_file",
        refusals="ON_WRITING remedy_of",
        requests="Asker Caller POLICIES REQUESTS UndeclaredError as_caller asks_of may_select policy_of scope_of",
        retention="Retention",
        row_sources="SCHEME by_scheme claimed possible_files reader_problem",
        settings="Location component setting show show_python words yaml_float",
        spelling="as_written from_here",
        terminal="ESCAPE leave_pipe",
        trees="as_list built count fields_of named number text",
        version="HOOKS_VERSION __version__",
        wording="counted listed snake_case",
    )
