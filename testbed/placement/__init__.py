"""Placement: where to cut the model, and which server hosts which stage."""

from testbed.placement.placing import Placement, Placer
from testbed.placement.rewriting import check_new, rewritten, write_new
from testbed.placement.stated_site import StatedSite, read_site

__all__ = ["Placement", "Placer", "StatedSite", "check_new", "read_site", "rewritten", "write_new"]
