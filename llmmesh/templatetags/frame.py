"""Template tags for the page's frame."""

from django import template
from django.template import Context
from django.template.loader_tags import BLOCK_CONTEXT_KEY
from django.utils.safestring import SafeString

register = template.Library()


@register.simple_tag(takes_context=True)
def again(context: Context, block: str) -> SafeString:
    """What the page put into a block, a second time: the title stands in the tab and in the heading."""
    found = context.render_context[BLOCK_CONTEXT_KEY].get_block(block)
    with context.push():
        text: SafeString = found.nodelist.render(context)
    return text
