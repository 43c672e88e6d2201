"""Plotly figures on the site: a still that needs no script, and the live figure that replaces it."""

import html
import json
from typing import Any

from docutils import nodes
from myst_nb.core.render import MimeData, MimeRenderPlugin, NbElementRenderer

from labkit.explore.stills import MIME, still


class PlotlyRenderer(MimeRenderPlugin):
    """MyST-NB plug-in: a plotly output becomes a numbered figure with caption, alt text and a still."""

    mime_priority_overrides = (("*", MIME, 1), ("*", "text/html", 5))

    @staticmethod
    def handle_mime(renderer: NbElementRenderer, data: MimeData, inline: bool) -> list[nodes.Element] | None:
        """Return the docutils figure for a plotly output, or None for any other."""
        if inline or data.mime_type != MIME:
            return None
        content = data.content if isinstance(data.content, dict) else json.loads(str(data.content))
        return [_figure(renderer, content, data.line or 0)]


def _figure(renderer: NbElementRenderer, content: dict[str, Any], line: int) -> nodes.figure:
    meta = content.get("layout", {}).get("meta") or {}
    body = pictures_html(content, meta) if "pictures" in meta else plot_html(content, meta)
    figure = nodes.figure("", nodes.raw("", body, format="html"), classes=["fig"])
    if "caption" in meta:
        _caption(renderer, figure, meta, line)
    return figure


def _caption(renderer: NbElementRenderer, figure: nodes.figure, meta: dict[str, Any], line: int) -> None:
    """Add the caption as Markdown, and the label by which pages refer to the figure."""
    markdown, document = renderer.renderer, renderer.renderer.document
    caption = nodes.caption()
    with markdown.current_node_context(caption):
        markdown.nested_render_text(meta["caption"], line, inline=True)
    figure += caption
    if "name" in meta:
        figure["names"].append(nodes.fully_normalize_name(meta["name"]))
        document.note_explicit_target(figure, figure)
    else:
        document.set_id(figure)  # Sphinx numbers only figures with an id


def plot_html(content: dict[str, Any], meta: dict[str, Any]) -> str:
    """Return the still and the data of a live figure; `site.js` draws it when the reader comes near."""
    layout = {k: v for k, v in content["layout"].items() if k != "title"}
    margin = {**(layout.get("margin") or {}), "t": 40 if layout.get("showlegend") else 24}
    figure = {"data": content["data"], "layout": {**layout, "margin": margin}}
    data = json.dumps(figure, separators=(",", ":")).replace("</", "<\\/")
    alt, height = html.escape(meta.get("alt", ""), quote=True), int(layout.get("height", 450))
    return (
        f'<div class="fig-plot" role="img" aria-label="{alt}" style="height:{height}px">'
        f'<div class="fig-still">{still(figure)}</div>'
        f'<script type="application/json">{data}</script></div>'
    )


def pictures_html(content: dict[str, Any], meta: dict[str, Any]) -> str:
    """Return pictures as a plain grid of images: nothing to zoom, so nothing to load."""
    cells = "".join(_picture(trace, meta["pictures"]) for trace in content["data"])
    alt = html.escape(meta["alt"], quote=True)
    style = f"--columns:{meta['columns']}"
    return f'<div class="fig-pictures" role="group" aria-label="{alt}" style="{style}">{cells}</div>'


def _picture(trace: dict[str, Any], sizes: dict[str, list[int]]) -> str:
    label = html.escape(trace.get("name", ""), quote=True)
    width, height = sizes[trace.get("name", "")]
    kind = "dark-light fig-pixels" if width < 200 else "dark-light"  # the theme dims other pictures in the dark
    image = f'<img src="{trace["source"]}" alt="{label}" width="{width}" height="{height}" class="{kind}">'
    return f'<div class="fig-picture">{image}<span aria-hidden="true">{label}</span></div>'
