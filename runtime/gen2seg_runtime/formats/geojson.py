"""GeoJSON (RFC 7946): one feature for each instance, a MultiPolygon with holes.

Coordinates are pixels, not degrees: x to the right, y down, whole numbers on the corners of pixels. A GIS shows
such a file upside down unless it is told so. The member "size" [H, W] of the collection is ours; RFC 7946
allows foreign members.
"""

import os
from typing import Any

import numpy as np

from gen2seg_runtime.errors import ImageError
from gen2seg_runtime.formats.json_file import read_json, write_json
from gen2seg_runtime.formats.shapes import check_id, check_ring, check_size, instance_polygons, paint_rings
from gen2seg_runtime.instances import Instances


def geojson_document(instances: Instances) -> dict[str, Any]:
    """A FeatureCollection: id, properties (area in pixels, bbox [x0, y0, x1, y1], score, color, center)."""
    features = []
    for record in instances.records:
        polygons = instance_polygons(instances, record)
        features.append(
            {
                "type": "Feature",
                "id": record.id,
                "bbox": list(record.box),
                "properties": {
                    "area": record.area,
                    "score": record.score,
                    "color": list(record.color),
                    "center": list(record.center),
                },
                "geometry": {
                    "type": "MultiPolygon",
                    # GeoJSON's rings end where they began.
                    "coordinates": [[[*ring.tolist(), ring[0].tolist()] for ring in p.rings] for p in polygons],
                },
            }
        )
    return {"type": "FeatureCollection", "size": list(instances.labels.shape), "features": features}


def write_geojson(path: str | os.PathLike[str], instances: Instances) -> None:
    """Write `geojson_document(instances)`.

    Raises:
        OutputError: the file cannot be written.
    """
    write_json(path, geojson_document(instances))


def read_geojson(path: str | os.PathLike[str]) -> np.ndarray:
    """The label map (H, W) int32 of a file as `write_geojson` makes it.

    Where features overlap, the later one wins.

    Raises:
        ImageReadError: the file cannot be read.
        ImageError: it is not such a collection.
    """
    where = str(path)
    document = read_json(path)
    size = document.get("size")
    if document.get("type") != "FeatureCollection" or not isinstance(size, list) or len(size) != 2:
        raise ImageError(f'{where}: expected a FeatureCollection with "size" [height, width]')
    labels = np.zeros(check_size(size[0], size[1], where), np.int32)
    features = document.get("features")
    if not isinstance(features, list):
        raise ImageError(f'{where}: "features" must be a list')
    for index, feature in enumerate(features):
        place = f"{where}: features[{index}]"
        geometry = feature.get("geometry") if isinstance(feature, dict) else None
        if not isinstance(geometry, dict) or not isinstance(geometry.get("coordinates"), list):
            raise ImageError(f"{place}: no geometry with coordinates")
        kind, coordinates = geometry.get("type"), geometry["coordinates"]
        if kind not in ("Polygon", "MultiPolygon"):
            raise ImageError(f"{place}: expected a Polygon or MultiPolygon, found {kind!r}")
        polygons = [coordinates] if kind == "Polygon" else coordinates
        label = check_id(feature.get("id"), place)
        for polygon in polygons:
            if not isinstance(polygon, list):
                raise ImageError(f"{place}: a polygon is a list of rings")
            paint_rings(labels, [check_ring(ring, place) for ring in polygon], label)
    return labels
