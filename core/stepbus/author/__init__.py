"""For who writes plugins and settings: list, show, doctor, schema, scaffold, reference."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stepbus.author.abilities import MEANINGS as MEANINGS
    from stepbus.author.abilities import powers as powers
    from stepbus.author.checks import problems_of as problems_of
    from stepbus.author.declaring import declared as declared
    from stepbus.author.description import describe as describe
    from stepbus.author.description import first_line as first_line
    from stepbus.author.description import render_description as render_description
    from stepbus.author.doctor import examine as examine
    from stepbus.author.doctor import render_report as render_report
    from stepbus.author.hook_reference import as_markdown as as_markdown
    from stepbus.author.hook_reference import as_text as as_text
    from stepbus.author.hook_reference import reference as reference
    from stepbus.author.hook_reference import timeline as timeline
    from stepbus.author.listing import inventory as inventory
    from stepbus.author.listing import named as named
    from stepbus.author.listing import requirements as requirements
    from stepbus.author.listing import table as table
    from stepbus.author.probing import arguments_for as arguments_for
    from stepbus.author.probing import probe as probe
    from stepbus.author.schema import Fragment as Fragment
    from stepbus.author.schema import configuration_schema as configuration_schema
else:
    from stepbus.base.lazy import lazily

    __getattr__, __dir__, __all__ = lazily(
        __name__,
        abilities="MEANINGS powers",
        checks="problems_of",
        declaring="declared",
        description="describe first_line render_description",
        doctor="examine render_report",
        hook_reference="as_markdown as_text reference timeline",
        listing="inventory named requirements table",
        probing="arguments_for probe",
        schema="Fragment configuration_schema",
    )
