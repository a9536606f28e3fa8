"""What the pipeline of synthetic clones computes, by other programs: clones.json.gz.

phash: pHash of pictures that lie here, by ImageHash.
sets: top-1, top-5, loss and AUPR of a narrow ResNet-18 (golden_measures.py) with hashed weights and 1000 classes on small
trees in the folder conventions of ImageNet's test sets, by torch, torchvision's transforms and scikit-learn. A tree is a
list of [folder, number]: the picture hashed_picture(number) lies in that folder.
"""

import gzip
import os
import tempfile

import imagehash
import numpy
import sklearn.metrics
import torch
import torchvision.transforms as T
from PIL import Image, ImageOps
from torchvision.datasets import ImageFolder
from torchvision.models.resnet import BasicBlock, ResNet

import hashed
from golden_store import save_json

HERE = os.path.dirname(os.path.abspath(__file__))
PICTURES = ["init_64x64.png", "init_83x70.png", "photo.jpg", "full_size.png"]
WIDTH, SIZE = 8, 32


def phashes():
    rows = []
    for name in PICTURES:
        picture = ImageOps.exif_transpose(Image.open(os.path.join(HERE, name))).convert("RGB")
        rows.append({"file": name, "phash": str(imagehash.phash(picture))})
    return rows


class Narrow(ResNet):
    """ResNet-18 with WIDTH channels in its first stage and a 3x3 stem of stride 1."""

    def __init__(self, classes):
        super().__init__(BasicBlock, [2, 2, 2, 2], num_classes=classes)
        self.inplanes = WIDTH
        self.conv1, self.maxpool = torch.nn.Conv2d(3, WIDTH, 3, 1, 1, bias=False), torch.nn.Identity()
        self.bn1 = torch.nn.BatchNorm2d(WIDTH)
        for stage in range(4):
            layer = self._make_layer(BasicBlock, WIDTH << stage, 2, stride=1 if stage == 0 else 2)
            setattr(self, f"layer{stage + 1}", layer)
        self.fc = torch.nn.Linear(WIDTH << 3, classes)


def hashed_picture(number):
    """48 wide, 40 high: blocks of 8x8 pixels of one colour, and a little noise."""
    block = (hashed.bits(f"eval.{number}", 5 * 6 * 3) >> numpy.uint64(8)) % numpy.uint64(200)
    noise = hashed.bits(f"eval.{number}.noise", 40 * 48 * 3) % numpy.uint64(56)
    big = block.reshape(5, 6, 3).repeat(8, 0).repeat(8, 1)
    return Image.fromarray((big + noise.reshape(40, 48, 3)).astype(numpy.uint8))


def subsets():
    """wnids of ImageNet by list: from the file that imago carries, whose counts the tests check."""
    rows = [line.split() for line in open(os.path.join(HERE, "../../src/data/text/imagenet.txt"))]
    with gzip.open(os.path.join(HERE, "imagenet1k_wordnet30.tsv.gz"), "rt") as truth:
        assert [r[0] for r in rows] == [line.split("\t")[0] for line in truth if line[0] != "#"]
    marked = {mark: [r[0] for r in rows if len(r) > 1 and mark in r[1]] for mark in "caro"}
    return [r[0] for r in rows], marked


def logits_of(net, root):
    """Logits and folder names of a tree, by torchvision."""
    see = T.Compose([T.Resize(SIZE * 8 // 7), T.CenterCrop(SIZE), T.ToTensor(),
                     T.Normalize((.485, .456, .406), (.229, .224, .225))])
    data = ImageFolder(root, see)
    y = torch.stack([net(data[i][0][None].double())[0] for i in range(len(data))])
    return y, [data.classes[label] for _, label in data.samples]


def place(tree, root):
    for folder, number in tree:
        os.makedirs(os.path.join(root, folder), exist_ok=True)
        hashed_picture(number).save(os.path.join(root, folder, f"{number}.png"))


def judge(y, labels, allowed):
    """top-1, top-5, mean cross entropy among the allowed classes."""
    y = y[:, allowed]
    labels = torch.tensor([allowed.index(label) for label in labels])
    top = y.topk(5).indices
    return {"top1": (top[:, 0] == labels).double().mean().item(),
            "top5": (top == labels[:, None]).any(1).double().mean().item(),
            "loss": torch.nn.functional.cross_entropy(y, labels).item()}


def eval_sets():
    """One network of 1000 classes, and one of the 100 of ImageNet-100, on a tree a set."""
    wnids, marked = subsets()
    kinds = {"imagenet": wnids, "imagenet-v2": wnids, "imagenet-sketch": wnids, "imagenet-a": marked["a"],
             "imagenet-r": marked["r"], "imagenet-o": marked["o"], "val": marked["o"]}
    nets = {"1k": (hashed.load_hashed(Narrow(1000)).double().eval(), wnids),
            "100": (hashed.load_hashed(Narrow(100)).double().eval(), marked["c"])}
    trees, values = {}, {name: {} for name in nets}
    with tempfile.TemporaryDirectory() as scratch:
        # A folder for each picture: the class of a chosen rank, so that some are right, some among five, some wrong.
        for k, (kind, listed) in enumerate(kinds.items()):
            tree = []
            for i in range(18):
                number = 100 * k + i
                name = "100" if i % 3 == 0 and set(listed) & set(marked["c"]) else "1k"
                net, names = nets[name]
                root = os.path.join(scratch, f"one-{number}")
                place([["x", number]], root)
                y = logits_of(net, root)[0][0]
                order = [n for n in (names[j] for j in y.argsort(descending=True)) if n in listed]
                wnid = order[[0, 2, 0, 7, 3, 0, 11, 1, 5][i % 9] % len(order)]
                tree.append([str(wnids.index(wnid)) if kind == "imagenet-v2" else wnid, number])
            trees[kind] = tree
        trees["val"] += trees["imagenet"]             # pictures of classes that ImageNet-O has not, too
        for kind, tree in trees.items():
            place(tree, os.path.join(scratch, kind))
        for kind in kinds:
            if kind == "val":
                continue
            root = os.path.join(scratch, kind)
            for name, (net, names) in nets.items():
                y, folders = logits_of(net, root)
                own = [wnids[int(f)] if kind == "imagenet-v2" else f for f in folders]
                rows = [i for i, wnid in enumerate(own) if wnid in names]
                among = kinds[kind] if kind in ("imagenet-a", "imagenet-r", "imagenet-o") else wnids
                allowed = [j for j, wnid in enumerate(names) if wnid in among]
                if kind != "imagenet-o":
                    row = judge(y[rows], [names.index(own[i]) for i in rows], allowed)
                else:
                    row = anomalies(net, names, allowed, y[rows], os.path.join(scratch, "val"))
                values[name][kind] = row | {"pictures": len(rows), "left_out": len(own) - len(rows),
                                            "in_common": len(set(own) & set(names))}
    return {"trees": trees, "values": values}


def anomalies(net, names, allowed, odd, val):
    """Hendrycks et al.: scores are -max softmax among the classes of the set, positives its pictures."""
    y, folders = logits_of(net, val)
    rows = [i for i, wnid in enumerate(folders) if wnid in names and names.index(wnid) in allowed]
    scores = [-x[:, allowed].softmax(1).max(1).values for x in (odd, y[rows])]
    truth = [1] * len(odd) + [0] * len(rows)
    area = sklearn.metrics.average_precision_score(truth, torch.cat(scores).numpy())
    return judge(y[rows], [names.index(folders[i]) for i in rows], allowed) | {"aupr": area, "val": len(rows)}


def make_clones(out):
    """Write clones.json.gz."""
    save_json(os.path.join(out, "clones.json.gz"), {"phash": phashes(), "sets": eval_sets()})


if __name__ == "__main__":
    torch.set_grad_enabled(False)
    make_clones(HERE)
