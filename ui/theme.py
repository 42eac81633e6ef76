"""The look of the page: one theme for light and dark, system fonts only, and the files that style and move it."""

from __future__ import annotations

from pathlib import Path

import gradio as gr

ASSETS = Path(__file__).resolve().parents[1] / "assets"

_EMBER = gr.themes.Color(
    name="ember",
    c50="#fdf4ee",
    c100="#fbe5d6",
    c200="#f6c8ab",
    c300="#f0a678",
    c400="#ec8a50",
    c500="#d9661f",
    c600="#b84d10",
    c700="#973e0f",
    c800="#7a3413",
    c900="#642d14",
    c950="#361407",
)
_STEEL = gr.themes.Color(
    name="steel",
    c50="#f6f7f9",
    c100="#eceef2",
    c200="#d9dde4",
    c300="#bcc3ce",
    c400="#8d97a7",
    c500="#667085",
    c600="#4c5567",
    c700="#374050",
    c800="#222936",
    c900="#181d27",
    c950="#10141b",
)


def theme() -> gr.themes.Base:
    """Return the theme; every text colour keeps a contrast of at least 4.5 to its ground in both modes."""
    made = gr.themes.Base(
        primary_hue=_EMBER,
        secondary_hue=_STEEL,
        neutral_hue=_STEEL,
        font=("system-ui", "-apple-system", "Segoe UI", "Roboto", "Helvetica Neue", "sans-serif"),
        font_mono=("ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "DejaVu Sans Mono", "monospace"),
        radius_size=gr.themes.sizes.radius_md,
        text_size=gr.themes.sizes.text_md,
    )
    return _controls(made).set(
        body_background_fill="*neutral_50",
        body_background_fill_dark="*neutral_950",
        body_text_color="*neutral_800",
        body_text_color_dark="*neutral_100",
        body_text_color_subdued="#566074",
        body_text_color_subdued_dark="#a3adbd",
        background_fill_primary="white",
        background_fill_primary_dark="*neutral_900",
        background_fill_secondary="*neutral_50",
        background_fill_secondary_dark="*neutral_950",
        block_background_fill="white",
        block_background_fill_dark="*neutral_900",
        block_border_width="0px",
        block_shadow="none",
        block_label_text_color="*neutral_700",
        block_label_text_color_dark="*neutral_200",
        block_title_text_color="*neutral_700",
        block_title_text_color_dark="*neutral_200",
        block_title_text_weight="600",
        block_info_text_color="#566074",
        block_info_text_color_dark="#a3adbd",
        border_color_primary="*neutral_200",
        border_color_primary_dark="#2c3443",
        input_border_width="1px",
        color_accent="*primary_600",
        input_background_fill="white",
        input_background_fill_dark="*neutral_950",
        input_border_color="*neutral_300",
        input_border_color_dark="#3a4354",
        input_border_color_focus="*primary_500",
        input_border_color_focus_dark="*primary_400",
        input_placeholder_color="#6b7587",
        input_placeholder_color_dark="#8f9aad",
    )


def _controls(made: gr.themes.Base) -> gr.themes.Base:
    """Buttons, boxes to tick, sliders and links."""
    return made.set(
        button_primary_background_fill="*primary_600",
        button_primary_background_fill_hover="*primary_700",
        button_primary_background_fill_dark="*primary_600",
        button_primary_background_fill_hover_dark="*primary_700",
        button_primary_text_color="white",
        button_primary_text_color_dark="white",
        button_secondary_background_fill="white",
        button_secondary_background_fill_hover="*neutral_100",
        button_secondary_background_fill_dark="*neutral_800",
        button_secondary_background_fill_hover_dark="*neutral_700",
        button_secondary_border_color="*neutral_300",
        button_secondary_border_color_dark="#3a4354",
        button_secondary_text_color="*neutral_800",
        button_secondary_text_color_dark="*neutral_100",
        button_border_width="1px",
        checkbox_label_background_fill_selected="*primary_50",
        checkbox_label_background_fill_selected_dark="#3a2416",
        checkbox_label_text_color_selected="*neutral_800",
        checkbox_label_text_color_selected_dark="*neutral_100",
        checkbox_label_border_width="1px",
        checkbox_border_color="*neutral_400",
        checkbox_border_color_dark="*neutral_500",
        checkbox_background_color_selected="*primary_600",
        checkbox_background_color_selected_dark="*primary_500",
        checkbox_border_color_selected="*primary_600",
        slider_color="*primary_600",
        slider_color_dark="*primary_500",
        link_text_color="*primary_700",
        link_text_color_dark="*primary_300",
    )


def css() -> str:
    """Return the page's styles."""
    return "\n".join((ASSETS / name).read_text(encoding="utf-8") for name in ("page.css", "compare.css", "routing.css"))


def head() -> str:
    """Return what goes into the page's head: our scripts, inline, so that nothing is fetched."""
    names = ("charts.js", "viewer.js", "routing.js", "inputs.js", "page.js")
    scripts = "\n".join((ASSETS / name).read_text(encoding="utf-8") for name in names)
    return f'<meta name="color-scheme" content="light dark"><script>{scripts}</script>'


def logo() -> str:
    """Return the logo as inline SVG."""
    return (ASSETS / "logo.svg").read_text(encoding="utf-8")
